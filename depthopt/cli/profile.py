"""The command that fills a latency table, and checks what it predicts."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthopt.cli.options import (
    AllowCode,
    AsJson,
    BatchOption,
    CheckpointOption,
    InputSizeOption,
    ModelArgument,
    Overrides,
    RunDir,
    ThreadsOption,
    console,
    err,
    input_size_of,
    loading,
    name_of,
    network_of,
    require_no_checkpoint,
    require_own,
    walk,
    within,
)
from depthopt.cli.show import show_layers, show_validation
from depthopt.core import numbers
from depthopt.core.artefacts import save_json, to_plain
from depthopt.core.clipped import clipped
from depthopt.core.counted import counted
from depthopt.core.extras import require_extra
from depthopt.core.inputs import InputSize
from depthopt.core.shipped import is_recipe
from depthopt.core.writing import write_bytes
from depthopt.errors import TableError, UsageError
from depthopt.tables.latency import BALLAST_MIB, FOOTPRINT_PLANS, LatencyTable, NetworkKey
from depthopt.tables.store import store, stored, table_path
from depthopt.tables.validation import Validation
from depthopt.workflow.progress import ConsoleReporter

if TYPE_CHECKING:  # torch takes seconds to import, and a full table needs none of it
    from torch import nn

    from depthopt.core.candidate import Candidate
    from depthopt.core.chain import Chain
    from depthopt.runtimes.base import LayerTime, Runtime


def profile(
    model: ModelArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    input_size: InputSizeOption = "3,224,224",
    checkpoint: CheckpointOption = None,
    allow_code: AllowCode = False,
    runtime: Annotated[
        str,
        typer.Option(
            help="Runtime: onnxruntime, openvino, tensorrt, tensorrt_rtx, torch or torch_compiled."
        ),
    ] = "onnxruntime",
    device: Annotated[str, typer.Option(help="cpu, or cuda if the runtime supports it.")] = "cpu",
    dtype: Annotated[
        str, typer.Option(help="Number format that the runtime computes in.")
    ] = "float32",
    build: Annotated[
        list[str] | None,
        typer.Option(
            help="Build options of TensorRT, such as workspace_mib=512.", show_default=False
        ),
    ] = None,
    threads: ThreadsOption = 1,
    batch: BatchOption = 1,
    kinds: Annotated[str, typer.Option(help="Candidate kinds.")] = "drop,fit,merge",
    kernel_sizes: Annotated[str, typer.Option(help="Kernel sizes that fit tries.")] = "1,3,5",
    max_length: Annotated[
        int, typer.Option(help="Longest segment, in blocks.", callback=within(numbers.Count))
    ] = 12,
    seconds_per_entry: Annotated[
        float, typer.Option(help="Longest time per entry.", callback=within(numbers.Seconds))
    ] = 0.25,
    tables: Annotated[
        Path, typer.Option(help="Folder of tables, or one table's file (.json).")
    ] = Path("latency_tables"),
    footprint_plans: Annotated[
        int,
        typer.Option(
            help="Time this many random plans, to learn how latency depends on the weights that a "
            "network reads; 0: take it for a sum of entries.",
            callback=within(numbers.CountOrZero),
        ),
    ] = FOOTPRINT_PLANS,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Measure only the entries of the model that the table lacks."
        ),
    ] = False,
    validate: Annotated[
        int,
        typer.Option(
            help="Build and time this many random plans, and compare them with the predictions.",
            callback=within(numbers.CountOrZero),
        ),
    ] = 0,
    seed: Annotated[
        int, typer.Option(help="Seed of the random plans.", callback=within(numbers.Seed))
    ] = 0,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw predicted over measured speed-ups to this file (.svg).", show_default=False
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="Show the model's layers, as timed by the runtime's profiler."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure the latency of every block and candidate.

    With a model's name, its entries are added to the table of this device, runtime, dtype
    and batch in --tables. With a recipe, the table lies in its run folder, and the stages
    before this one are carried out first. Measure on an idle machine.

    --validate checks that a plan takes as long as its entries together: random plans are built,
    fused, and timed in turn with the original.
    """
    if plot is not None and not validate:
        raise UsageError("--plot draws the plans that --validate N measures; give both")
    if plot is not None:
        require_extra("matplotlib", "--plot")
    if is_recipe(model):
        require_no_checkpoint(checkpoint)
        context = walk(Path(model), overrides, run_dir, "profile", allow_code=allow_code)
        job = _Job(context.recipe.network_name, context.recipe.model.input_size, context.runtime)
        job.known = (context.teacher, context.chain, context.candidates)
        table, path = context.latency, context.path("latency.json")
    else:
        require_own(model, overrides, run_dir)
        from depthopt.runtimes.registry import get_runtime  # noqa: PLC0415 - only when it is needed
        from depthopt.runtimes.tensorrt.options import parse  # noqa: PLC0415

        options = parse(build or ())
        job = _Job(
            model,
            input_size_of(input_size),
            get_runtime(runtime, threads=threads, device=device, dtype=dtype, build=options),
            tuple(kinds.split(",")),
            tuple(_whole(size) for size in kernel_sizes.split(",")),
            max_length,
            checkpoint,
        )
        ballast_mib = BALLAST_MIB if footprint_plans and device == "cpu" else None
        conditions = job.runtime.conditions(batch).with_ballast(ballast_mib)
        path = tables if tables.suffix == ".json" else table_path(tables, conditions)
        table = stored(path, conditions)
        network = table.networks.get(job.key)
        if network is not None and not update:
            raise TableError(
                f"{path} holds {job.key} already; --update measures only what is missing"
            )
        if network is None or job.covers not in network.covers:
            table = _filled(job, table, path, batch, seconds_per_entry, footprint_plans)
    validation = _validated(job, table, path, validate, seed, plot) if validate else None
    found = job.layers(table.conditions.batch) if layers else None
    if as_json:
        print(json.dumps(_summary(job, table, path, validation, found), indent=2))
        return
    if found is not None:
        show_layers(console, found)
    if validation is not None:
        show_validation(console, validation)
    total = table.networks[job.key].total
    entries = counted(len(table.entries), "entry", "entries")
    print(f"{path}: {entries}; {job.key} takes {total.median_ms:.3f} ms")


class _Job:
    """One network on one runtime; torch is imported when the network itself is needed."""

    def __init__(
        self,
        name: str,
        input_size: InputSize,
        runtime: "Runtime",
        kinds: Sequence[str] = (),
        kernel_sizes: Sequence[int] = (),
        max_length: int | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        self.name, self.input_size, self.runtime = name, input_size, runtime
        self.checkpoint = checkpoint
        self.kinds, self.kernel_sizes, self.max_length = kinds, kernel_sizes, max_length
        self.known: tuple[nn.Module, Chain, tuple[Candidate, ...]] | None = None

    @property
    def key(self) -> NetworkKey:
        """The network's key in tables."""
        if self.known is not None:
            return NetworkKey.of(self.known[1])
        return NetworkKey(name_of(self.name), self.input_size)

    @property
    def covers(self) -> str:
        """The candidates in words, with the versions that found them."""
        sizes = ",".join(map(str, self.kernel_sizes))
        return (
            f"{','.join(self.kinds)} of kernels {sizes} up to {self.max_length} blocks "
            f"(depthopt {version('depthopt')}, timm {version('timm')})"
        )

    def network(self) -> "tuple[nn.Module, Chain, tuple[Candidate, ...]]":
        """The network, its chain and its candidates."""
        if self.known is None:
            with loading():
                from depthopt.extraction.extract import extract  # noqa: PLC0415
                from depthopt.kinds.candidates import candidates  # noqa: PLC0415

            model = network_of(self.name, self.input_size, self.checkpoint)
            chain = extract(model, self.input_size, name=name_of(self.name))
            found = candidates(
                chain,
                kinds=self.kinds,
                kernel_sizes=self.kernel_sizes,
                max_length=self.max_length,
            )
            self.known = model, chain, found
        return self.known

    def exported(self, folder: str, batch: int) -> Path:
        """The network as an ONNX file in ``folder``."""
        from depthopt.export.onnx import export_onnx  # noqa: PLC0415
        from depthopt.graph.examples import made_up  # noqa: PLC0415

        path = Path(folder) / "original.onnx"
        images = made_up(self.input_size, batch)
        export_onnx(self.network()[0], path, images=images, batch=batch)
        return path

    def layers(self, batch: int) -> "tuple[LayerTime, ...]":
        """The network's layers by the runtime's profiler."""
        from depthopt.runtimes.base import random_inputs  # noqa: PLC0415

        with tempfile.TemporaryDirectory() as folder:
            path = self.exported(folder, batch)
            inputs = random_inputs(self.runtime.compile(path), batch)
            return self.runtime.layer_times(path, inputs)


def _filled(
    job: _Job, table: LatencyTable, path: Path, batch: int, entry_seconds: float, plans: int
) -> LatencyTable:
    """The table with all of the job's entries, stored as they come."""
    with loading():
        from depthopt.latency.profile import profile as measure  # noqa: PLC0415 - torch takes seconds

    def keep(so_far: LatencyTable) -> None:
        store(path, so_far)

    model, chain, found = job.network()
    with ConsoleReporter(err) as reporter, tempfile.TemporaryDirectory() as folder:
        reporter.started("profile")
        network = job.exported(folder, batch)
        table = measure(
            chain,
            found,
            runtime=job.runtime,
            network=network,
            model=model,
            table=table,
            batch=batch,
            entry_seconds=entry_seconds,
            plans=plans,
            progress=reporter.progress,
            on_update=keep,
        )
    return store(path, table.covering(job.key, job.covers))


def _validated(
    job: _Job, table: LatencyTable, path: Path, plans: int, seed: int, plot: Path | None
) -> Validation:
    """Random plans, predicted and measured. The comparison is stored beside the table."""
    from depthopt.latency.validate import validate  # noqa: PLC0415 - torch takes seconds

    model, chain, found = job.network()
    with ConsoleReporter(err) as reporter:
        reporter.started("validate")
        result = validate(
            model,
            chain,
            found,
            table,
            runtime=job.runtime,
            plans=plans,
            seed=seed,
            progress=reporter.progress,
        )
    name = str(job.key).replace(" @", "-")
    save_json(result, path.with_name(f"{path.stem}.validation-{name}.json"))
    if plot is not None:
        from depthopt.report.validation import validation_svg  # noqa: PLC0415 - matplotlib takes a second

        write_bytes(plot, validation_svg(result))
    return result


def _summary(
    job: _Job,
    table: LatencyTable,
    path: Path,
    validation: Validation | None,
    layers: "tuple[LayerTime, ...] | None",
) -> dict[str, Any]:
    """The result as JSON for scripts."""
    network = table.networks[job.key]
    found: dict[str, Any] = {
        "table": str(path),
        "entries": len(table.entries),
        "settled": sum(entry.settled is True for entry in table.entries.values()),
        "network": str(job.key),
        "total_ms": network.total.median_ms,
        "fixed_ms": network.fixed_ms,
        "blocks_share": network.blocks_share,
        "footprints": [asdict(each) for each in network.footprints],
    }
    if validation is not None:
        timings = [{**to_plain(t), "error": t.error} for t in validation.timings]
        found["validation"] = {
            "median_error": validation.median_error,
            "by_speedup": [asdict(each) for each in validation.by_speedup],
            "plans": timings,
        }
    if layers is not None:
        found["layers"] = [asdict(layer) for layer in layers]
    return found


def _whole(text: str) -> int:
    size = numbers.whole(text)
    if size is None:
        raise UsageError(
            f"kernel size {clipped(text)} is not a whole number; use for instance 1,3,5"
        )
    return numbers.require(numbers.Size, "kernel size", size)
