"""``depthopt estimate``: what candidates cost in accuracy."""

import json
from pathlib import Path
from typing import Annotated

import typer

from depthopt.cli.options import AllowCode, AsJson, Overrides, RecipeArgument, RunDir, walk, within
from depthopt.core import numbers
from depthopt.core.extras import require_extra
from depthopt.core.writing import write_bytes


def estimate(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    allow_code: AllowCode = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the costs over position and length to this file (.svg).", show_default=False
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Spread the work over this many processes, with one core each.",
            show_default=False,
            callback=within(numbers.Threads),
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster that does the work, or auto.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate what each candidate costs in accuracy.

    The key importance.estimator says how. By regression, a candidate's weights are solved for, and
    the network behind it is run. By finetune, the papers' way, the network is trained briefly with
    the candidate in place. By magnitude, the weights that are removed are added up. With finetune
    the table holds its protocol in words, with "reduced" if it trains or scores on fewer images
    than the papers.

    Earlier stages that are not done are carried out first. The table is the same for any number of
    workers. When you start the command again, it goes on from the entries that it has.
    """
    if plot is not None:
        require_extra("matplotlib", "--plot")
    if address is None and workers is not None:
        require_extra("loky", "--workers")
    where = {"importance.workers": workers, "importance.address": address}
    given = [f"{key}={value}" for key, value in where.items() if value is not None]
    overrides = [*(overrides or []), *given]
    context = walk(recipe, overrides, run_dir, "estimate", allow_code=allow_code)
    if plot is not None:
        from depthopt.report.importance import importance_svg  # noqa: PLC0415 - matplotlib takes a second

        write_bytes(plot, importance_svg(context.importance))
    path = str(context.path("importance.json"))
    if not as_json:
        print(path)
        return
    table = context.importance
    said = {"estimator": table.estimator, "protocol": table.protocol, "images": table.images}
    print(json.dumps({"stage": "estimate", "artefacts": [path], **said}))
