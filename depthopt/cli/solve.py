"""``depthopt solve``: every good trade of latency against importance of a recipe's run."""

from pathlib import Path
from typing import Annotated

import typer

from depthopt.cli.options import (
    AllowCode,
    AsJson,
    BudgetOption,
    Overrides,
    RecipeArgument,
    RunDir,
    SpeedupOption,
    console,
    walk,
)
from depthopt.cli.show import show_frontier, show_plan
from depthopt.core.artefacts import save_json, to_json


def solve(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    allow_code: AllowCode = False,
    budget_ms: BudgetOption = None,
    speedup: SpeedupOption = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write the whole frontier to this CSV file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the plan to this JSON file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find every good trade of latency against importance, and pick one.

    Earlier stages that are not done are carried out first. The recipe's budget picks the run's
    plan. --budget-ms and --speedup show what another budget would give, without changing the run.
    For table files use `depthopt frontier`.
    """
    context = walk(recipe, overrides, run_dir, "solve", allow_code=allow_code)
    plan, found = context.plan, context.frontier
    if budget_ms is not None or speedup is not None:
        plan = found.pick(budget_ms=budget_ms, speedup=speedup)
    if csv is not None:
        show_frontier(found, csv)
    if out is not None:
        save_json(plan, out)
    if as_json:
        print(to_json(plan))
        return
    show_plan(console, plan, context.chain)
    from depthopt.report.accuracy import run_accuracy  # noqa: PLC0415 - of a run that is there
    from depthopt.report.facts import expected_sentence  # noqa: PLC0415 - as above
    from depthopt.report.reading import read_run  # noqa: PLC0415 - as above

    said = expected_sentence(run_accuracy(read_run(context.folder.path)), plan)
    console.print(said, highlight=False, markup=False)
