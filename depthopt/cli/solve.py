"""``depthopt solve``: every good trade of latency against importance."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from depthopt.cli.options import (
    AsJson,
    Overrides,
    RunDir,
    chain_of,
    console,
    walk,
)
from depthopt.cli.show import show_frontier, show_plan
from depthopt.core.artefacts import load_json, save_json, to_json
from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Frontier
from depthopt.errors import TableError, UsageError
from depthopt.frontier.caps import Cap, LatencyCap, MemoryCap, ParameterCap
from depthopt.frontier.lookup import Objective
from depthopt.frontier.solve import solve as solve_tables
from depthopt.solver.stages import Bucketed, Epsilon, Exact, Mode
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable

_EITHER = "solve takes either a recipe or both --latency and --importance"


def solve(
    recipe: Annotated[
        Path | None, typer.Argument(help="The recipe; or give --latency and --importance.")
    ] = None,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    latency: Annotated[Path | None, typer.Option(help="A latency table.")] = None,
    importance: Annotated[Path | None, typer.Option(help="An importance table.")] = None,
    chain: Annotated[
        Path | None,
        typer.Option(help="The tables' network, from `extract --json`; else a timm model."),
    ] = None,
    budget_ms: Annotated[float | None, typer.Option(help="Show the plan at this latency.")] = None,
    speedup: Annotated[float | None, typer.Option(help="Show the plan at this speed-up.")] = None,
    frontier: Annotated[
        Path | None, typer.Option(help="Write the whole frontier to this CSV file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the plan to this JSON file.")] = None,
    mode: Annotated[str, typer.Option(help="exact, bucketed:MS or epsilon:E.")] = "exact",
    objective: Annotated[
        str,
        typer.Option(help="Minimise cost, or maximise the papers' exp_accuracy."),
    ] = "cost",
    keep: Annotated[list[str] | None, typer.Option(help="A block that must stay.")] = None,
    replace: Annotated[list[str] | None, typer.Option(help="A block that must go.")] = None,
    most_parameters: Annotated[int | None, typer.Option(help="Cap on parameters.")] = None,
    most_memory: Annotated[int | None, typer.Option(help="Cap on live bytes per image.")] = None,
    also_latency: Annotated[
        list[Path] | None, typer.Option(help="A further device's table to respect.")
    ] = None,
    also_budget_ms: Annotated[
        list[float] | None, typer.Option(help="The budget on that device.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find every good trade of latency against importance, and pick one.

    With a recipe, the run's plan is picked by the recipe's budget; --budget-ms and
    --speedup show what another would give, without changing the run. With --latency and
    --importance, table files are solved, for instance imported ones; modes, constraints
    and caps apply to these.
    """
    tables_given = [latency is not None, importance is not None]
    if any(tables_given) == (recipe is not None) or any(tables_given) != all(tables_given):
        raise UsageError(_EITHER)
    for_tables = (chain, keep, replace, most_parameters, most_memory, also_latency, also_budget_ms)
    if recipe is not None and (any(for_tables) or (mode, objective) != ("exact", "cost")):
        raise UsageError(
            "modes, constraints and caps apply to --latency and --importance; a recipe's run "
            "has its tables in its folder"
        )
    plan = None
    if latency is not None and importance is not None:
        found, points = _frontier_of(
            latency,
            importance,
            chain,
            solver_mode=_mode(mode),
            objective=objective,  # type: ignore[arg-type] # the solver names what it knows
            keep=keep or (),
            replace=replace or (),
            limits=_caps(also_latency or (), also_budget_ms or (), most_parameters, most_memory),
        )
        picks = budget_ms is not None or speedup is not None
        if not picks and (frontier is None or out is not None or as_json):
            raise UsageError(
                "say what to pick: --budget-ms or --speedup; --frontier FILE alone writes all"
            )
    elif recipe is None:
        raise UsageError(_EITHER)
    else:
        context = walk(recipe, overrides, run_dir, "solve")
        found, points, plan = context.chain, context.frontier, context.plan
    if budget_ms is not None or speedup is not None:
        plan = points.pick(budget_ms=budget_ms, speedup=speedup)
    if frontier is not None:
        show_frontier(points, frontier)
    if plan is None:
        return
    if out is not None:
        save_json(plan, out)
    print(to_json(plan)) if as_json else show_plan(console, plan, found)


def _mode(text: str) -> Mode:
    """A solver's mode from ``exact``, ``bucketed:MS`` or ``epsilon:E``."""
    if text == "exact":
        return Exact()
    name, _, value = text.partition(":")
    kinds: dict[str, Callable[[float], Mode]] = {"bucketed": Bucketed, "epsilon": Epsilon}
    try:
        return kinds[name](float(value))
    except (KeyError, ValueError):
        raise UsageError(f"mode {text!r} is unknown; use exact, bucketed:MS or epsilon:E") from None


def _caps(
    tables: Sequence[Path],
    budgets_ms: Sequence[float],
    parameters: int | None,
    memory_bytes: int | None,
) -> tuple[Cap, ...]:
    """The further limits that a plan has to respect.

    Raises:
        UsageError: not as many budgets as tables.
    """
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


def _frontier_of(
    latency: Path,
    importance: Path,
    chain_path: Path | None,
    *,
    solver_mode: Mode,
    objective: Objective,
    keep: Sequence[str],
    replace: Sequence[str],
    limits: Sequence[Cap],
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
    times, costs = load_json(LatencyTable, latency), load_json(ImportanceTable, importance)
    if chain_path is not None:
        chain = load_json(Chain, chain_path)
    else:
        chain = chain_of(costs.model, _input_size(times, costs.model, latency))
    found = solve_tables(
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
