"""Solving from table files, and importing published ones, without a run."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthopt.cli.options import input_size_of
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Frontier
from depthopt.errors import TableError, UsageError
from depthopt.frontier.published import import_tables, read_importances, read_latencies
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable, MeasurementConditions

if TYPE_CHECKING:  # the solver's compiler takes a second to import
    from depthopt.frontier.caps import Cap
    from depthopt.frontier.lookup import Objective
    from depthopt.solver.stages import Mode

app = typer.Typer(help="Latency and importance tables as files.", no_args_is_help=True)


@app.callback()
def _tables() -> None:
    """Keeps ``import`` a command of its own although it is the only one."""


def chain_of(model: str, input_size: tuple[int, int, int]) -> Chain:
    """The chain of a timm model by name."""
    from depthopt.extraction.extract import extract  # noqa: PLC0415 - as above
    from depthopt.models.timm import create_timm_model  # noqa: PLC0415 - torch takes seconds

    channels = input_size[0]
    network = create_timm_model(model, {} if channels == 3 else {"in_chans": channels})
    return extract(network, input_size, name=model)


def mode(text: str) -> "Mode":
    """A solver's mode from ``exact``, ``bucketed:MS`` or ``epsilon:E``."""
    from depthopt.solver.stages import Bucketed, Epsilon, Exact  # noqa: PLC0415 - see above

    if text == "exact":
        return Exact()
    name, _, value = text.partition(":")
    kinds: dict[str, Callable[[float], Mode]] = {"bucketed": Bucketed, "epsilon": Epsilon}
    try:
        return kinds[name](float(value))
    except (KeyError, ValueError):
        raise UsageError(f"mode {text!r} is unknown; use exact, bucketed:MS or epsilon:E") from None


def caps(
    tables: Sequence[Path],
    budgets_ms: Sequence[float],
    parameters: int | None,
    memory_bytes: int | None,
) -> "tuple[Cap, ...]":
    """The further limits that a plan has to respect.

    Raises:
        UsageError: not as many budgets as tables.
    """
    from depthopt.frontier.caps import LatencyCap, MemoryCap, ParameterCap  # noqa: PLC0415 - see above

    if len(tables) != len(budgets_ms):
        raise UsageError(
            f"{len(tables)} --also-latency and {len(budgets_ms)} --also-budget-ms; give one "
            "budget for each further table"
        )
    found: list[Cap] = [
        LatencyCap(load_json(LatencyTable, path), budget)
        for path, budget in zip(tables, budgets_ms, strict=True)
    ]
    if parameters is not None:
        found.append(ParameterCap(parameters))
    if memory_bytes is not None:
        found.append(MemoryCap(memory_bytes))
    return tuple(found)


def frontier_of(
    latency: Path,
    importance: Path,
    chain_path: Path | None,
    *,
    solver_mode: "Mode",
    objective: "Objective",
    keep: Sequence[str],
    replace: Sequence[str],
    limits: "Sequence[Cap]",
) -> tuple[Chain, Frontier]:
    """Solve for the candidates of an importance table.

    Args:
        latency: a latency table.
        importance: an importance table of one of its networks.
        chain_path: the network's chain; extracted from the timm model if None.
        solver_mode: exact, bucketed or epsilon.
        objective: what is added up.
        keep: names of blocks that must stay.
        replace: names of blocks that must not stay.
        limits: further limits.

    Raises:
        TableError: the tables do not fit each other or the chain.
    """
    from depthopt.frontier.solve import solve  # noqa: PLC0415 - see above

    times, costs = load_json(LatencyTable, latency), load_json(ImportanceTable, importance)
    if chain_path is not None:
        chain = load_json(Chain, chain_path)
    else:
        chain = chain_of(costs.model, _input_size(times, costs.model, latency))
    found = solve(
        chain,
        (*kept_blocks(chain), *_candidates(chain, costs, importance)),
        times,
        costs,
        mode=solver_mode,
        objective=objective,
        keep=keep,
        replace=replace,
        caps=limits,
    )
    return chain, found


def _input_size(table: LatencyTable, model: str, path: Path) -> tuple[int, int, int]:
    """The size at which the table holds the model, if it is only one."""
    sizes = [key.input_size for key in table.networks if key.model == model]
    if len(sizes) != 1:
        held = ", ".join(map(str, table.networks)) or "none"
        raise TableError(
            f"{path} should hold {model} at one input size; its networks: {held}; "
            "name the chain by --chain, or profile the model"
        )
    return sizes[0]


def _candidates(chain: Chain, table: ImportanceTable, path: Path) -> list[Candidate]:
    for candidate in table.entries:
        if reason := chain.why_illegal(candidate.start, candidate.end):
            raise TableError(
                f"{path}: {candidate} does not fit {chain.model} at "
                f"{'x'.join(map(str, chain.input_size))}: {reason}; was it another network's?"
            )
    return list(table.entries)


@app.command("import")
def import_(
    model: Annotated[str, typer.Argument(help="The timm model that was measured.")],
    latency: Annotated[
        Path,
        typer.Option(help="CSV with id,st,end,time,stdev or id,st,end,ker,str,is_dw,time,stdev."),
    ],
    importance: Annotated[
        Path | None,
        typer.Option(help="CSV with st,end,ker,str,is_dw,conv_comb,importance."),
    ] = None,
    input_size: Annotated[str, typer.Option(help="Channels, height, width.")] = "3,224,224",
    device: Annotated[str | None, typer.Option(help="Where it was measured.")] = None,
    runtime: Annotated[str | None, typer.Option(help="For instance tensorrt.")] = None,
    runtime_version: Annotated[str | None, typer.Option(help="Its version.")] = None,
    dtype: Annotated[str | None, typer.Option(help="For instance float16.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images per inference.")] = None,
    threads: Annotated[int, typer.Option(help="Threads; 0 on accelerators.")] = 0,
    original_ms: Annotated[
        float | None,
        typer.Option(help="The whole network's latency; the sum of its blocks if left out."),
    ] = None,
    first_block: Annotated[
        int, typer.Option(help="The block that lies after the files' position 0.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the tables.")] = Path(),
) -> None:
    """Turn the two depth-compression papers' published CSV files into tables.

    The files do not say where and how they were measured; what is not given as an
    option is asked for. Written are chain.json, latency.json and importance.json:

        depthopt solve --latency latency.json --importance importance.json --chain chain.json
    """
    conditions = MeasurementConditions(
        device=_asked("device", device),
        runtime=_asked("runtime", runtime),
        runtime_version=_asked("runtime-version", runtime_version),
        threads=threads or None,
        dtype=_asked("dtype", dtype),
        batch=batch if batch is not None else _whole(_asked("batch", None)),
        date=datetime.now(UTC).date().isoformat(),
    )
    rows = read_latencies(latency)
    scores = () if importance is None else read_importances(importance)
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
    """A condition of measurement, from the option or the person at the terminal."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError(f"the files do not say the {name} they were measured with; give --{name}")
    return str(typer.prompt(name.replace("-", " ")))


def _whole(text: str) -> int:
    if not (text.isdigit() and int(text) > 0):
        raise UsageError(f"batch {text!r} is no whole number above 0")
    return int(text)
