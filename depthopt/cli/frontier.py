"""``depthopt frontier``: solve table files, without a run."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthopt.cli.options import AsJson, BudgetOption, SpeedupOption, chain_of, console, within
from depthopt.cli.show import show_frontier, show_plan
from depthopt.core import numbers
from depthopt.core.artefacts import load_json, save_json, to_json
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.clipped import clipped
from depthopt.core.inputs import InputSize, size_text
from depthopt.core.old_words import read_objective
from depthopt.core.shipped import table_file
from depthopt.errors import TableError, UsageError
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable

if TYPE_CHECKING:  # numba takes a second to import, and a missing file needs none of it
    from depthopt.frontier.caps import Cap
    from depthopt.solver.stages import Mode


def frontier(
    latency: Annotated[
        Path,
        typer.Argument(help="A latency table: a file, or one that `tables list` names."),
    ],
    importance: Annotated[Path, typer.Argument(help="An importance table.")],
    chain: Annotated[
        Path | None,
        typer.Option(
            help="The tables' network, from `extract --json`; else a model by name.",
            show_default=False,
        ),
    ] = None,
    budget_ms: BudgetOption = None,
    speedup: SpeedupOption = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write the whole frontier to this CSV file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the plan to this JSON file.")] = None,
    mode: Annotated[str, typer.Option(help="exact, bucketed:MS or epsilon:E.")] = "exact",
    objective: Annotated[
        str,
        typer.Option(
            help="Minimise cost, or maximise the papers': exp_metric, the sum of exp(change of "
            "the metric as a fraction), or metric, the sum of the changes."
        ),
    ] = "cost",
    alpha: Annotated[
        float,
        typer.Option(
            help="For metric: how many times the single layers' mean change is taken from each.",
            callback=within(numbers.Finite),
        ),
    ] = 0.0,
    keep: Annotated[list[str] | None, typer.Option(help="A block that must stay.")] = None,
    replace: Annotated[list[str] | None, typer.Option(help="A block that must go.")] = None,
    cap: Annotated[
        list[str] | None,
        typer.Option(
            help="A limit: parameters=N, memory=BYTES alive per image, or TABLE.json=MS on "
            "another device.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find every good trade of latency against importance from table files.

    For example, from imported tables:

        depthopt frontier latency.json importance.json --chain chain.json --speedup 2
    """
    picks = budget_ms is not None or speedup is not None
    if not picks and (csv is None or out is not None or as_json):
        raise UsageError("say what to pick: --budget-ms or --speedup; --csv FILE alone writes all")
    latency = table_file(latency)
    times, costs = load_json(LatencyTable, latency), load_json(ImportanceTable, importance)
    if chain is not None:
        network = load_json(Chain, chain)
    else:
        network = chain_of(costs.model, _input_size(times, costs.model, latency))
    from depthopt.frontier.solve import solve  # noqa: PLC0415 - see above

    found = solve(
        network,
        _candidates(network, times, costs, importance),
        times,
        costs,
        mode=_mode(mode),
        objective=read_objective(objective),  # type: ignore[arg-type] # the solver names what it knows
        alpha=alpha,
        keep=keep or (),
        replace=replace or (),
        caps=tuple(map(_cap, cap or ())),
    )
    plan = found.pick(budget_ms=budget_ms, speedup=speedup) if picks else None
    if csv is not None:
        show_frontier(found, csv)
    if plan is None:
        return
    if out is not None:
        save_json(plan, out)
    print(to_json(plan)) if as_json else show_plan(console, plan, network)


def _mode(text: str) -> "Mode":
    """A solver's mode from ``exact``, ``bucketed:MS`` or ``epsilon:E``."""
    from depthopt.solver.stages import Bucketed, Epsilon, Exact  # noqa: PLC0415 - see above

    if text == "exact":
        return Exact()
    name, _, value = text.partition(":")
    modes: dict[str, Callable[[float], Mode]] = {"bucketed": Bucketed, "epsilon": Epsilon}
    try:
        share = name == "epsilon" and value.endswith("%")
        return modes[name](numbers.fraction(value) if share else numbers.decimal(value))
    except (KeyError, ValueError):
        raise UsageError(
            f"mode {clipped(text)} is unknown; use exact, bucketed:MS or epsilon:E"
        ) from None


def _cap(text: str) -> "Cap":
    """A limit from ``parameters=N``, ``memory=BYTES`` or ``TABLE.json=MS``."""
    from depthopt.frontier.caps import (  # noqa: PLC0415 - see above
        LatencyCap,
        MemoryCap,
        ParameterCap,
    )

    what, _, amount = text.rpartition("=")
    is_number = re.fullmatch(f"-?{numbers.DECIMAL}", amount) is not None
    if what == "parameters" and is_number:
        return ParameterCap(_most(what, amount))
    if what == "memory" and is_number:
        return MemoryCap(_most(what, amount))
    if what.endswith(".json") and is_number:
        return LatencyCap(load_json(LatencyTable, table_file(Path(what))), float(amount))
    raise UsageError(f"cap {clipped(text)} is not parameters=N, memory=BYTES or TABLE.json=MS")


def _most(what: str, amount: str) -> int:
    return int(numbers.require(numbers.Finite, f"cap {what}", float(amount)))


def _input_size(table: LatencyTable, model: str, path: Path) -> InputSize:
    """The size at which the table holds the model, if it is only one."""
    sizes = [key.input_size for key in table.networks if key.model == model]
    if len(sizes) != 1:
        held = ", ".join(map(str, table.networks)) or "none"
        raise TableError(
            f"{path} should hold {model} at one input size; its networks: {held}; "
            "name the chain by --chain, or profile the model"
        )
    return sizes[0]


def _candidates(
    chain: Chain, times: LatencyTable, costs: ImportanceTable, path: Path
) -> tuple[Candidate, ...]:
    for candidate in costs.entries:
        if reason := chain.why_illegal(candidate.start, candidate.end):
            raise TableError(
                f"{path}: {candidate} does not fit {chain.model} at "
                f"{size_text(chain.input_size)}: {reason}; is the table of another network?"
            )
    from depthopt.frontier.published.parts import solvable  # noqa: PLC0415 - see above

    return solvable(chain, times, costs)
