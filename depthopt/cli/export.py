"""The command that writes a recipe's network for other programs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from depthopt.cli.options import (
    AllowCode,
    AsJson,
    Overrides,
    RecipeArgument,
    RunDir,
    err,
    loaded_recipe,
    walk,
)
from depthopt.core.clipped import clipped
from depthopt.errors import RuntimeUnavailable, UsageError

if TYPE_CHECKING:  # torch takes seconds to import; --help needs none of it
    from depthopt.export.quantise import QuantisedFor
    from depthopt.pipeline.context import Context


def export(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    allow_code: AllowCode = False,
    openvino: Annotated[
        bool,
        typer.Option("--openvino", help="Write OpenVINO's files too, checked in the same way."),
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Write an ONNX file in 8-bit integers too.")
    ] = False,
    int8_for: Annotated[
        Literal["onnxruntime", "tensorrt"],
        typer.Option("--for", help="Runtime that --int8 writes for. TensorRT reads another form."),
    ] = "onnxruntime",
    engine: Annotated[
        bool,
        typer.Option("--engine", help="Build a TensorRT engine too, for this GPU or for --target."),
    ] = False,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="GPUs that the engine is for: sm75, sm80, sm86, sm89, sm120, sm121 (may be given "
            "several times), or portable. It can be built on any machine.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Number format of an engine for --target: float32, tf32 or float16. The recipe's "
            "latency.dtype by default.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the fused network as ONNX, and check its logits on ONNX Runtime.

    One file has the recipe's batch, and is the one that is timed. The other, in fused/, takes any
    batch. Earlier stages that are not done are carried out first.

    With --int8 the ranges of activations are taken from training images. The cost in accuracy is
    not measured here. With --for tensorrt the ranges are symmetric, and biases stay float. TensorRT
    reads only this form, and ONNX Runtime computes most of it in float32.

    --engine without --target builds for this GPU, and needs a recipe with latency.runtime=tensorrt.
    With --target the engine is built ahead of time by TensorRT for RTX (pip install
    "depthopt[tensorrt-rtx]"), for any recipe and without a GPU. An engine has the recipe's batch
    and latency.build.
    """
    if int8_for != "onnxruntime" and not int8:
        raise UsageError(f"--for {int8_for} goes with --int8; give --int8 too")
    if engine or target or dtype:
        measured_on = loaded_recipe(recipe, overrides, run_dir)[0].latency.runtime
        _require_engine(engine, target, dtype, measured_on)
    context = walk(recipe, overrides, run_dir, "export", allow_code=allow_code)
    paths = [context.path("fused.onnx"), context.path("fused/model.onnx")]
    if context.processes.is_main:
        from depthopt.export.noted import note  # noqa: PLC0415 - as below
        from depthopt.pipeline.lock import lock  # noqa: PLC0415 - as below

        with lock(context.folder.path):
            note(paths[0])  # both as their stage left them
            note(paths[1])
            if openvino:
                paths.append(_openvino(context, paths[1]))
            if int8:
                paths.append(_int8(context, paths[1], int8_for))
            if engine:
                paths.append(_engine(context, paths[0], target or [], dtype))
    found = [str(path) for path in paths]
    print(json.dumps({"stage": "export", "artefacts": found}) if as_json else "\n".join(found))


def _openvino(context: "Context", model: Path) -> Path:
    from depthopt.export.openvino import export_openvino  # noqa: PLC0415 - torch takes seconds

    path = model.with_suffix(".xml")
    images, _ = next(context.data.calibration.batches(16))
    export_openvino(context.network("fused"), model, path, images=images)
    return path


def _int8(context: "Context", model: Path, runtime: "QuantisedFor") -> Path:
    from depthopt.export.quantise import quantise  # noqa: PLC0415 - torch takes seconds

    path = model.with_name("model.int8.onnx")
    images = context.train_inputs(context.recipe.importance.images)
    quantise(model, path, images=images, runtime=runtime)
    return path


def _require_engine(
    engine: bool, targets: list[str] | None, dtype: str | None, runtime: str
) -> None:
    """Refuse options that would fail after the stages are carried out.

    Raises:
        UsageError: targets without an engine, or that there are not; a dtype without targets.
        RuntimeUnavailable: what builds for them is not installed; or there are none, and the
            recipe's runtime builds no engines.
    """
    from depthopt.runtimes.tensorrt.library import (  # noqa: PLC0415 - light help
        LIBRARIES,
        TENSORRT_RTX,
        builds_no_engines,
    )
    from depthopt.runtimes.tensorrt.options import DTYPES  # noqa: PLC0415 - as above
    from depthopt.runtimes.tensorrt.targets import parsed  # noqa: PLC0415 - as above

    for name, given in (("--target", targets), ("--dtype", dtype)):
        if given and not engine:
            raise UsageError(f"{name} goes with --engine; give --engine too")
    if dtype and not targets:
        raise UsageError("--dtype goes with --target; for this GPU set latency.dtype")
    if engine and not targets and runtime not in LIBRARIES:
        raise RuntimeUnavailable(builds_no_engines(runtime))
    if targets:
        parsed(targets, TENSORRT_RTX)
        if dtype not in {None, *DTYPES}:
            raise UsageError(f"--dtype is {clipped(dtype)}; known: {', '.join(DTYPES)}")
        TENSORRT_RTX.load()


def _engine(context: "Context", model: Path, targets: list[str], dtype: str | None) -> Path:
    from depthopt.export.engine import export_engine  # noqa: PLC0415 - torch takes seconds
    from depthopt.runtimes.tensorrt.options import DTYPES  # noqa: PLC0415 - as above

    path, latency = context.path("fused/model.engine"), context.recipe.latency
    images, _ = next(context.data.calibration.batches(max(latency.batch, 16)))
    difference = export_engine(
        context.network("fused"),
        model,
        path,
        images=images,
        runtime=None if targets else context.runtime,
        targets=targets,
        dtype=dtype or (latency.dtype if latency.dtype in DTYPES else "float32"),
        build=latency.build,
    )
    if difference is None:
        err.print(f"{path}: built for {', '.join(targets)}, not run here")
    return path
