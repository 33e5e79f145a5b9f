"""The commands. Exit codes: 0 done, 1 a failure while running, 2 input to be mended."""

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.logging import RichHandler

from depthopt.cli.progress import ConsoleReporter
from depthopt.cli.show import show_chain, show_frontier, show_plan, show_result
from depthopt.core.artefacts import load_json, write_bytes
from depthopt.core.chain import Chain
from depthopt.errors import DepthoptError, UsageError
from depthopt.pipeline.context import Context
from depthopt.pipeline.recipe import load_recipe

app = typer.Typer(
    help="Make a trained convolutional network shallower and faster for one device.",
    epilog="Start with: depthopt run recipes/quickstart.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
err = Console(stderr=True)
out = Console() if sys.stdout.isatty() else Console(width=160)

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file (see recipes/).")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY.PATH=VALUE]...",
        help="Changes to the recipe, for instance budget.speedup=2.5 finetune.epochs=3.",
        show_default=False,
    ),
]
RunDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the run's artefacts; runs/RECIPE by default. A run that was "
        "stopped goes on from there.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=err, show_time=False, show_path=False)],
    )


def _walk(recipe: Path, overrides: list[str] | None, run_dir: Path | None, until: str) -> Context:
    from depthopt.pipeline.run import run  # noqa: PLC0415 - torch takes seconds to import

    loaded = load_recipe(recipe, overrides or [])
    with ConsoleReporter(err) as reporter:
        return run(loaded, run_dir or Path("runs") / recipe.stem, until=until, reporter=reporter)


@app.command()
def run(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    as_json: AsJson = False,
) -> None:
    """Carry out a whole recipe: from a network and data to a faster network.

    Every stage's artefact is kept in the run folder. Started again, a run goes on from
    the last finished stage; with a changed recipe only the stages that the change
    affects are done again.
    """
    context = _walk(recipe, overrides, run_dir, "result")
    from depthopt.pipeline.result import Result  # noqa: PLC0415 - torch takes seconds to import

    result = load_json(Result, context.path("result.json"))
    _print(result) if as_json else show_result(out, result)


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
    if model.endswith((".yaml", ".yml")):
        chain = _walk(Path(model), overrides, run_dir, "extract").chain
    else:
        from depthopt.export.saved import create_timm_model  # noqa: PLC0415 - as above
        from depthopt.extract import extract as find_chain  # noqa: PLC0415 - as above

        size = _size(input_size)
        network = create_timm_model(model, {} if size[0] == 3 else {"in_chans": size[0]})
        chain = find_chain(network, size, name=model)
    _draw(chain, dot, svg)
    _print(chain) if as_json else _show_chain(chain)


def _draw(chain: Chain, dot: Path | None, svg: Path | None) -> None:
    if dot is None and svg is None:
        return
    from depthopt.report import chain_dot, chain_svg  # noqa: PLC0415 - matplotlib takes a second

    if dot is not None:
        write_bytes(dot, chain_dot(chain).encode())
    if svg is not None:
        write_bytes(svg, chain_svg(chain))


def _show_chain(chain: Chain) -> None:
    from depthopt.extract import candidates  # noqa: PLC0415 - torch takes seconds to import
    from depthopt.extract import reducible_share as share  # noqa: PLC0415 - as above

    show_chain(out, chain, candidates(chain, kinds=("drop", "fit", "merge")), share(chain))


def _size(text: str) -> tuple[int, int, int]:
    parts = text.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"input size {text!r} is not of the form C,H,W, such as 3,224,224")
    return int(parts[0]), int(parts[1]), int(parts[2])


_STAGES = {
    "profile": (
        "Measure the latency of everything that may run, on the recipe's runtime.",
        ("latency.json",),
    ),
    "estimate": (
        "Estimate what each candidate costs in accuracy.",
        ("importance.json",),
    ),
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
    "export": (
        "Write the fused network as ONNX, and check its logits on ONNX Runtime.",
        ("fused.onnx",),
    ),
}


def _add_stage(name: str, purpose: str, outputs: tuple[str, ...]) -> None:
    def command(
        recipe: RecipeArgument,
        overrides: Overrides = None,
        run_dir: RunDir = None,
        as_json: AsJson = False,
    ) -> None:
        context = _walk(recipe, overrides, run_dir, name)
        paths = [str(context.path(output)) for output in outputs]
        print(json.dumps({"stage": name, "artefacts": paths}) if as_json else "\n".join(paths))

    earlier = "The stages before it are carried out first, as far as they are not done."
    app.command(name, help=f"{purpose}\n\n{earlier}")(command)


for _name in ("profile", "estimate"):
    _add_stage(_name, *_STAGES[_name])


@app.command()
def solve(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    budget_ms: Annotated[float | None, typer.Option(help="Show the plan at this latency.")] = None,
    speedup: Annotated[float | None, typer.Option(help="Show the plan at this speed-up.")] = None,
    frontier: Annotated[
        Path | None, typer.Option(help="Write the whole frontier to this CSV file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find every good trade of latency against importance, and pick one.

    The run's plan is picked by the recipe's budget; --budget-ms and --speedup show what
    another would give, without changing the run.
    """
    context = _walk(recipe, overrides, run_dir, "solve")
    plan = context.plan
    if budget_ms is not None or speedup is not None:
        plan = context.frontier.pick(budget_ms=budget_ms, speedup=speedup)
    if frontier is not None:
        show_frontier(context.frontier, frontier)
    _print(plan) if as_json else show_plan(out, plan, context.chain)


for _name in ("apply", "finetune", "merge", "export"):
    _add_stage(_name, *_STAGES[_name])


def _print(value: Any) -> None:
    print(TypeAdapter(type(value)).dump_json(value, indent=2).decode())


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
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
