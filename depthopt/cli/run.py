"""``depthopt run``: a whole recipe."""

from pathlib import Path
from typing import Annotated

import typer

from depthopt.cli.options import (
    AllowCode,
    AsJson,
    MethodOption,
    Overrides,
    RecipeArgument,
    RunDir,
    console,
    loading,
    walk,
)
from depthopt.cli.show import show_dry_run, show_result
from depthopt.core.artefacts import load_json, to_json
from depthopt.pipeline.overrides import with_keys
from depthopt.pipeline.result import Result


def run(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    method: MethodOption = None,
    run_dir: RunDir = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Folder of another run to start from. What still holds is copied: the original's "
            "weights, its chain, latencies and importances. That folder is not changed.",
            show_default=False,
        ),
    ] = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only check everything, and estimate time and memory."),
    ] = False,
) -> None:
    """Carry out a whole recipe: from a network and data to a faster network.

    The run folder keeps the artefact of every stage. When you start a run again, it goes on from
    the last finished stage. If the recipe changed, only the stages that the change affects are
    done again. With several GPUs or machines:
    accelerate launch -m depthopt run RECIPE.

    With --dry-run nothing is written. Problems that would stop the run are listed, and the exit
    code is then 1.
    """
    overrides = with_keys(overrides, method=method)
    if dry_run:
        folder = run_dir or Path("runs") / recipe.stem
        if start_from is not None and not folder.exists():
            folder = start_from  # what is done there will be here
        _dry_run(recipe, overrides, folder, allow_code=allow_code, as_json=as_json)
        return
    context = walk(
        recipe, overrides, run_dir, "result", start_from=start_from, allow_code=allow_code
    )
    result = load_json(Result, context.path("result.json"))
    print(to_json(result)) if as_json else show_result(console, result)


def _dry_run(
    recipe: Path, overrides: list[str], run_dir: Path, *, allow_code: bool, as_json: bool
) -> None:
    from depthopt.pipeline.recipe import load_recipe  # noqa: PLC0415 - help needs none of it

    loaded = load_recipe(recipe, overrides)  # its files are looked for with all else
    with loading():
        from depthopt.pipeline.dry_run import dry_run  # noqa: PLC0415 - torch takes seconds

    found = dry_run(loaded, run_dir, allow_code=allow_code)
    print(to_json(found)) if as_json else show_dry_run(console, found)
    if found.problems:
        raise typer.Exit(1)
