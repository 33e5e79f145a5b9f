"""``depthopt explore``: is it worth it, and how much of it?"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthopt.cli.options import AsJson, Overrides, RunDir, console, err, within
from depthopt.core import numbers
from depthopt.core.artefacts import to_json
from depthopt.core.clipped import clipped
from depthopt.core.shipped import is_recipe
from depthopt.errors import UsageError
from depthopt.workflow.progress import ConsoleReporter

if TYPE_CHECKING:
    from depthopt.core.explored import Explored


def explore(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    overrides: Overrides = None,
    minutes: Annotated[
        float,
        typer.Option(
            help="To take; the original's training, if there is any, comes on top.",
            callback=within(numbers.Positive),
        ),
    ] = 5.0,
    run_dir: RunDir = None,
    as_json: AsJson = False,
) -> None:
    """Find out in minutes how fast a network can get, and what that costs in accuracy.

    For each of several speed-ups a plan is timed, carried out and finetuned a little; how accurate
    whole finetunes would make them is told as a range. What is learned stays in the run's folder,
    and the run goes on from it. Stopped and started again, exploring goes on.
    """
    if not is_recipe(str(recipe)):
        raise UsageError(f"explore takes a recipe, a .yaml file; got {clipped(str(recipe))}")
    from depthopt.pipeline.explore import explore as explored  # noqa: PLC0415 - torch takes seconds
    from depthopt.pipeline.recipe import load_recipe  # noqa: PLC0415 - as above

    folder = run_dir or Path("runs") / recipe.stem
    with ConsoleReporter(err) as reporter:
        found = explored(
            load_recipe(recipe, overrides or []),
            folder,
            minutes=minutes,
            reporter=reporter,
            say=lambda text: err.print(text, highlight=False, markup=False),
        )
    words = [shlex.quote(word) for word in (str(recipe), *(overrides or []))]
    command = f"depthopt run {' '.join(words)} --run-dir {shlex.quote(str(folder))}"
    print(to_json(found)) if as_json else show_explored(found, command)


def show_explored(found: "Explored", command: str) -> None:
    """Print what exploring found, which speed-up is recommended, and how to make it.

    Args:
        found: by ``depthopt.explore``.
        command: that carries the recipe out, less its budget.
    """
    from rich.table import Table  # noqa: PLC0415 - help needs none of it

    from depthopt.report import explored as shown  # noqa: PLC0415 - as above

    table = Table(*shown.headings(found), title=f"{found.model} on {found.data}")
    for row in shown.rows(found):
        table.add_row(*row)
    console.print(table)
    if plot := shown.plot(found):
        console.print(plot, highlight=False, markup=False)
        said = "= to expect, o untrained, - the original as it is"
        console.print(said, highlight=False, markup=False)
    for text in (shown.expectation(found), shown.recommendation(found)):
        console.print(text, highlight=False, markup=False)
    if found.recommended is not None:
        budget = shlex.quote(f"budget={{speedup: {found.recommended:g}}}")
        console.print(f"To make it: {command} {budget}", highlight=False, markup=False)
