"""What several commands share: arguments, options, and a recipe's way through its stages."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from depthopt.cli.progress import ConsoleReporter
from depthopt.core.inputs import InputSize, InputSpec
from depthopt.errors import UsageError

if TYPE_CHECKING:  # torch takes seconds to import; --help needs none of it
    from depthopt.core.chain import Chain
    from depthopt.pipeline.context import Context

console = Console() if sys.stdout.isatty() else Console(width=160)
err = Console(stderr=True)

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
InputSizeOption = Annotated[
    str, typer.Option(help="Channels, height and width, for a model's name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def walk(recipe: Path, overrides: list[str] | None, run_dir: Path | None, until: str) -> "Context":
    """Carry out a recipe's stages up to ``until``, as far as they are not done."""
    from depthopt.pipeline.recipe import load_recipe  # noqa: PLC0415 - torch takes seconds
    from depthopt.pipeline.run import run  # noqa: PLC0415 - as above

    loaded = load_recipe(recipe, overrides or [])
    with ConsoleReporter(err) as reporter:
        return run(loaded, run_dir or Path("runs") / recipe.stem, until=until, reporter=reporter)


def chain_of(model: str, input_size: InputSize) -> "Chain":
    """The chain of a model by name."""
    from depthopt.extraction.extract import extract  # noqa: PLC0415 - torch takes seconds
    from depthopt.models.registry import create_model, model_arguments  # noqa: PLC0415 - as above

    network = create_model(model, model_arguments(model, input_size))
    return extract(network, input_size, name=model)


def is_recipe(model: str) -> bool:
    """Whether an argument names a recipe and not a timm model."""
    return model.endswith((".yaml", ".yml"))


def input_size_of(text: str) -> InputSize:
    """(channels, height, width) from ``C,H,W`` or ``CxHxW``, or named inputs."""
    if "=" in text:
        try:
            return InputSpec.parse(text)
        except ValueError as error:
            raise UsageError(f"input size: {error}") from None
    parts = text.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"input size {text!r} is not of the form C,H,W, such as 3,224,224")
    return int(parts[0]), int(parts[1]), int(parts[2])
