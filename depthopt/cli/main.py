"""The commands. Exit codes: 0 done, 1 a failure while running, 2 input to be mended.

``check`` has one more, 3, for what cannot be told.
"""

import contextlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.logging import RichHandler

from depthopt.cli import tables
from depthopt.cli.check import check
from depthopt.cli.export import export
from depthopt.cli.options import (
    AsJson,
    Overrides,
    RecipeArgument,
    RunDir,
    console,
    err,
    input_size_of,
    is_recipe,
    walk,
)
from depthopt.cli.predict import predict
from depthopt.cli.profile import profile
from depthopt.cli.report import compare, report
from depthopt.cli.show import show_chain, show_dry_run, show_frontier, show_plan, show_result
from depthopt.core.artefacts import load_json, save_json, to_json, write_bytes
from depthopt.core.chain import Chain
from depthopt.errors import DepthoptError, UsageError
from depthopt.pipeline.result import Result

app = typer.Typer(
    help="Make a trained convolutional network shallower and faster for one device.",
    epilog="Start with: depthopt run recipes/quickstart.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=err, show_time=False, show_path=False)],
    )


@app.command()
def run(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only check it all, and estimate time and memory."),
    ] = False,
) -> None:
    """Carry out a whole recipe: from a network and data to a faster network.

    Every stage's artefact is kept in the run folder. Started again, a run goes on from
    the last finished stage; with a changed recipe only the stages that the change
    affects are done again. With several GPUs or machines:
    accelerate launch -m depthopt run RECIPE.

    With --dry-run nothing is written; problems that would stop the run are listed, and make
    the exit code 1.
    """
    if dry_run:
        _dry_run(recipe, overrides or [], run_dir or Path("runs") / recipe.stem, as_json=as_json)
        return
    context = walk(recipe, overrides, run_dir, "result")
    result = load_json(Result, context.path("result.json"))
    _print(result) if as_json else show_result(console, result)


def _dry_run(recipe: Path, overrides: list[str], run_dir: Path, *, as_json: bool) -> None:
    from depthopt.pipeline.dry_run import dry_run  # noqa: PLC0415 - torch takes seconds
    from depthopt.pipeline.recipe import load_recipe  # noqa: PLC0415 - as above

    found = dry_run(load_recipe(recipe, overrides), run_dir)
    _print(found) if as_json else show_dry_run(console, found)
    if found.problems:
        raise typer.Exit(1)


@app.command()
def extract(
    model: Annotated[str, typer.Argument(help="A timm model's name, or a recipe (.yaml).")],
    overrides: Overrides = None,
    input_size: Annotated[
        str, typer.Option(help="Channels, height and width, for a model's name.")
    ] = "3,224,224",
    run_dir: RunDir = None,
    as_json: AsJson = False,
    dot: Annotated[
        Path | None, typer.Option(help="Draw the chain as a Graphviz file.", show_default=False)
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the chain as an SVG picture.", show_default=False)
    ] = None,
) -> None:
    """Show a network as a chain: its blocks, skips and barriers, and what is not used.

    A segment, a run of consecutive blocks, can be replaced if it crosses no barrier and no
    skip in part. With a recipe, the stages up to this one are carried out in its run folder.
    """
    if is_recipe(model):
        chain = walk(Path(model), overrides, run_dir, "extract").chain
    else:
        chain = tables.chain_of(model, input_size_of(input_size))
    _draw(chain, dot, svg)
    _print(chain) if as_json else _show_chain(chain)


def _draw(chain: Chain, dot: Path | None, svg: Path | None) -> None:
    if dot is None and svg is None:
        return
    from depthopt.report.drawing import chain_dot, chain_svg  # noqa: PLC0415 - matplotlib takes a second

    if dot is not None:
        write_bytes(dot, chain_dot(chain).encode())
    if svg is not None:
        write_bytes(svg, chain_svg(chain))


def _show_chain(chain: Chain) -> None:
    from depthopt.extraction.coverage import reducible_share  # noqa: PLC0415 - as above
    from depthopt.kinds.candidates import candidates  # noqa: PLC0415 - as above

    shares = reducible_share(chain, merging=True), reducible_share(chain)
    show_chain(console, chain, candidates(chain, kinds=("drop", "fit", "merge")), shares)


_STAGES = {
    "apply": (
        "Carry out the plan: the shallow network, its new convolutions fitted on data.",
        ("shallow/model.json", "shallow/model.safetensors"),
    ),
    "finetune": (
        "Train the shallow network, with the original as its teacher.",
        ("finetuned/model.json", "finetuned/model.safetensors"),
    ),
    "merge": (
        "Fold norms and merge convolutions, and check that the logits stay the same.",
        ("fused/model.json", "fused/model.safetensors"),
    ),
}


def _add_stage(name: str, purpose: str, outputs: tuple[str, ...]) -> None:
    def command(
        recipe: RecipeArgument,
        overrides: Overrides = None,
        run_dir: RunDir = None,
        as_json: AsJson = False,
    ) -> None:
        context = walk(recipe, overrides, run_dir, name)
        paths = [str(context.path(output)) for output in outputs]
        print(json.dumps({"stage": name, "artefacts": paths}) if as_json else "\n".join(paths))

    earlier = "The stages before it are carried out first, as far as they are not done."
    app.command(name, help=f"{purpose}\n\n{earlier}")(command)


app.command()(profile)
app.command()(check)


@app.command()
def estimate(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw cost over position and length (.svg).", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Spread the work over so many Ray workers.", show_default=False),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster, or auto.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate what each candidate costs in accuracy.

    The stages before it are carried out first, as far as they are not done. The table is the
    same for any number of workers; started again, the command goes on from the entries that
    it has.
    """
    where = {"importance.workers": workers, "importance.address": address}
    given = [f"{key}={value}" for key, value in where.items() if value is not None]
    overrides = [*(overrides or []), *given]
    context = walk(recipe, overrides, run_dir, "estimate")
    if plot is not None:
        from depthopt.report.importance import importance_svg  # noqa: PLC0415 - matplotlib takes a second

        write_bytes(plot, importance_svg(context.importance))
    path = str(context.path("importance.json"))
    print(json.dumps({"stage": "estimate", "artefacts": [path]}) if as_json else path)


@app.command()
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
        raise UsageError("solve takes either a recipe or both --latency and --importance")
    for_tables = (chain, keep, replace, most_parameters, most_memory, also_latency, also_budget_ms)
    if recipe is not None and (any(for_tables) or (mode, objective) != ("exact", "cost")):
        raise UsageError(
            "modes, constraints and caps apply to --latency and --importance; a recipe's run "
            "has its tables in its folder"
        )
    plan = None
    if latency is not None and importance is not None:
        found, points = tables.frontier_of(
            latency,
            importance,
            chain,
            solver_mode=tables.mode(mode),
            objective=objective,  # type: ignore[arg-type] # the solver names what it knows
            keep=keep or (),
            replace=replace or (),
            limits=tables.caps(
                also_latency or (), also_budget_ms or (), most_parameters, most_memory
            ),
        )
        picks = budget_ms is not None or speedup is not None
        if not picks and (frontier is None or out is not None or as_json):
            raise UsageError(
                "say what to pick: --budget-ms or --speedup; --frontier FILE alone writes all"
            )
    else:
        assert recipe is not None  # noqa: S101 - checked above
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
    _print(plan) if as_json else show_plan(console, plan, found)


for _name in ("apply", "finetune", "merge"):
    _add_stage(_name, *_STAGES[_name])


app.command()(export)
app.command()(predict)
app.command()(report)
app.command()(compare)
app.add_typer(tables.app, name="tables")


def _print(value: Any) -> None:
    print(to_json(value))


def main() -> NoReturn:
    """Run the command line and exit; of several processes only the first prints results."""
    first = os.environ.get("RANK", "0") == "0"  # as torchrun and accelerate number them
    try:
        with (
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(sys.stdout if first else nowhere),
        ):
            app()
    except UsageError as error:
        _fail(error, 2)
    except DepthoptError as error:
        _fail(error, 1)
    except OSError as error:  # a full disk, a folder that may not be written
        _fail(error, 1)
    except KeyboardInterrupt:
        err.print("stopped; start the same command again to go on")
        sys.exit(130)
    sys.exit(0)


def _fail(error: Exception, code: int) -> NoReturn:
    print(f"depthopt: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(code)
