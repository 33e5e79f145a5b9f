"""``depthopt tables``: table files without a run."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from depthopt.cli.loudness import with_loudness
from depthopt.cli.options import chain_of, input_size_of, within
from depthopt.core import numbers, shipped
from depthopt.core.artefacts import save_json
from depthopt.core.clipped import clipped
from depthopt.errors import UsageError
from depthopt.frontier.published import import_tables, read_importances, read_latencies
from depthopt.frontier.published.importances import Unit
from depthopt.tables.latency import MeasurementConditions

app = typer.Typer(help="Latency and importance tables as files.", no_args_is_help=True)


@app.command("list")
@with_loudness
def list_() -> None:
    """List the latency tables that come with depthopt.

    You can give such a name wherever a table is read: latency.table=amd-epyc in a recipe, which
    takes the table of the recipe's conditions, or depthopt check --against NAME MODEL.
    """
    for name in shipped.tables():
        print(name)


@app.command("import")
@with_loudness
def import_(
    model: Annotated[str, typer.Argument(help="The timm model that was measured.")],
    latency: Annotated[
        Path,
        typer.Option(
            help="CSV with id,st,end,time,stdev (2023) or id,st,end,ker,str,is_dw,time,stdev "
            "(LayerMerge)."
        ),
    ],
    importance: Annotated[
        Path | None,
        typer.Option(
            help="CSV with st,end,st_act,end_act and val_acc or imp (2023), or "
            "st,end,ker,str,is_dw,conv_comb and val_acc or importance (LayerMerge)."
        ),
    ] = None,
    unit: Annotated[
        Unit | None,
        typer.Option(
            help="Unit of val_acc: points (percentage points, as the papers' code writes) or "
            "fraction. Needed only if the rows do not show it."
        ),
    ] = None,
    input_size: Annotated[str, typer.Option(help="Channels, height, width.")] = "3,224,224",
    device: Annotated[
        str | None, typer.Option(help="Device that the latencies were measured on.")
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="Runtime, for instance tensorrt.")] = None,
    runtime_version: Annotated[str | None, typer.Option(help="Its version.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Number format, for instance float16.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images per inference.", callback=within(numbers.Batch))
    ] = None,
    threads: Annotated[
        int,
        typer.Option(help="Threads; 0 on accelerators.", callback=within(numbers.ThreadsOrZero)),
    ] = 0,
    original_ms: Annotated[
        float | None,
        typer.Option(
            help="The whole network's latency. By default the sum of its blocks.",
            callback=within(numbers.PositiveMilliseconds),
        ),
    ] = None,
    first_block: Annotated[
        int,
        typer.Option(
            help="Blocks of the network before the files' position 0. These have no row: 1 for the "
            "papers' MobileNetV2 and ResNet-34 (their stem is not in the tables), 0 for VGG19.",
            callback=within(numbers.Position),
        ),
    ] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite tables that exist.")] = False,
) -> None:
    """Turn the two depth-compression papers' published CSV files into tables.

    A file's columns tell what it holds. A file that cannot be used is refused by name. The files
    do not say where and how they were measured: you are asked for what you do not give as an
    option. The command writes chain.json, latency.json and importance.json:

        depthopt frontier latency.json importance.json --chain chain.json
    """
    names = ["chain.json", "latency.json", *([] if importance is None else ["importance.json"])]
    taken = [str(out / name) for name in names if (out / name).exists()]
    if taken and not force:
        raise UsageError(
            f"{taken[0]} exists; choose another folder with --out, or give --force to overwrite it"
        )
    rows = read_latencies(latency)
    scores = None if importance is None else read_importances(importance, unit)
    conditions = MeasurementConditions(
        device=_asked("device", device),
        runtime=_asked("runtime", runtime),
        runtime_version=_asked("runtime-version", runtime_version),
        threads=threads or None,
        dtype=_asked("dtype", dtype),
        batch=batch if batch is not None else _whole(_asked("batch", None)),
        date=datetime.now(UTC).date().isoformat(),
    )
    chain = chain_of(model, input_size_of(input_size))
    tables = import_tables(
        chain, conditions, rows, scores, original_ms=original_ms, first_block=first_block
    )
    written = {"chain.json": chain, "latency.json": tables.latency}
    if importance is not None:
        written["importance.json"] = tables.importance
    for name, value in written.items():
        save_json(value, out / name)
        print(out / name)


def _asked(name: str, given: str | None) -> str:
    """A condition of the measurement, from the option or asked for at the terminal."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            f"the files do not say which {name} they were measured with; give --{name}"
        )
    return str(typer.prompt(name.replace("-", " ")))


def _whole(text: str) -> int:
    batch = numbers.whole(text)
    if not batch:
        raise UsageError(f"batch {clipped(text)} is not a whole number above 0")
    return numbers.require(numbers.Batch, "batch", batch)
