"""The command that writes a recipe's network for other programs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from depthopt.cli.options import AllowCode, AsJson, Overrides, RecipeArgument, RunDir, walk
from depthopt.errors import UsageError

if TYPE_CHECKING:  # torch takes seconds to import; --help needs none of it
    from depthopt.export.quantise import QuantisedFor
    from depthopt.pipeline.context import Context


def export(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    allow_code: AllowCode = False,
    openvino: Annotated[
        bool, typer.Option("--openvino", help="OpenVINO's files too, checked likewise.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="An ONNX file in 8-bit integers too.")
    ] = False,
    int8_for: Annotated[
        Literal["onnxruntime", "tensorrt"],
        typer.Option("--for", help="What --int8 writes for; TensorRT reads another form."),
    ] = "onnxruntime",
    engine: Annotated[
        bool, typer.Option("--engine", help="A TensorRT engine too, for this GPU alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the fused network as ONNX, and check its logits on ONNX Runtime.

    One file is of the recipe's batch, the one that is timed; the other, in fused/, is of any.
    The stages before it are carried out first, as far as they are not done.

    With --int8 the ranges of activations are taken from training images; what it costs in
    accuracy is not measured here. With --for tensorrt they are symmetric, and biases stay float:
    TensorRT reads no other form, and ONNX Runtime computes most of this one in float32.
    --engine is for recipes whose latency.runtime is tensorrt; the engine is of the recipe's
    batch, latency.dtype and latency.build.
    """
    if int8_for != "onnxruntime" and not int8:
        raise UsageError(f"--for {int8_for} says what --int8 writes for; give --int8 too")
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
                paths.append(_engine(context, paths[0]))
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


def _engine(context: "Context", model: Path) -> Path:
    from depthopt.export.engine import export_engine  # noqa: PLC0415 - torch takes seconds

    path = context.path("fused/model.engine")
    images, _ = next(context.data.calibration.batches(max(context.recipe.latency.batch, 16)))
    export_engine(context.network("fused"), model, path, runtime=context.runtime, images=images)
    return path
