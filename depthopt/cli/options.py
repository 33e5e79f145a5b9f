"""What several commands share: arguments, options, and a recipe's way through its stages."""

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from depthopt.core import numbers
from depthopt.core.clipped import clipped
from depthopt.core.inputs import InputSize, InputSpec, fitting
from depthopt.errors import UsageError
from depthopt.tasks.registry import PURPOSES
from depthopt.workflow.progress import ConsoleReporter

if TYPE_CHECKING:  # torch takes seconds to import; --help needs none of it
    from torch import nn

    from depthopt.core.chain import Chain
    from depthopt.pipeline.context import Context
    from depthopt.pipeline.recipe import Recipe


class _Console(Console):
    """A console that leaves it to the command line to end, where nobody reads on."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "the reader of the output is gone")


_IN_A_FILE = 1000
"""Columns of output that does not go to a terminal, so that a line stays a line."""

console = _Console(width=None if sys.stdout.isatty() else _IN_A_FILE)
err = _Console(stderr=True, width=None if sys.stderr.isatty() else _IN_A_FILE)


def within(kind: Any) -> Callable[[typer.CallbackParam, Any], Any]:
    """What checks an option's value by one of the kinds of ``depthopt.core.numbers``."""

    def check(param: typer.CallbackParam, value: Any) -> Any:
        name = f"--{(param.name or '').replace('_', '-')}"
        return value if value is None else numbers.require(kind, name, value)

    return check


def is_share(param: typer.CallbackParam, value: str) -> str:
    """The text of a share, such as ``3%`` or ``0.03``, if ``numbers.fraction`` reads it."""
    try:
        numbers.fraction(value)
    except ValueError as error:
        raise UsageError(f"--{(param.name or '').replace('_', '-')} {error}") from None
    return value


ModelArgument = Annotated[
    str,
    typer.Argument(
        help="A network: timm's name, torchvision:NAME, FILE.py:CALLABLE or "
        "package.module:CALLABLE, which run that code; or a recipe (.yaml)."
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Let the recipe run the code that makes its network. Only for recipes that you trust.",
    ),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        help="Weights of the network: .safetensors, .pth, .pt, .ckpt or .tar.", show_default=False
    ),
]
RecipeArgument = Annotated[
    Path,
    typer.Argument(help="The recipe: a YAML file, or a name that `depthopt recipes` lists."),
]
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
        help="Folder of the run; runs/RECIPE by default. A run that was stopped goes on from "
        "there.",
        show_default=False,
    ),
]
InputSizeOption = Annotated[
    str,
    typer.Option(
        help="Channels, height and width, or the side of a square colour image, such as 64. A "
        "recipe has its own."
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        help="Whose settings to use as defaults: depthopt, or a paper's, layermerge, depth or mka. "
        "The same as method=NAME; keys that the recipe sets itself stay.",
        show_default=False,
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        help=f"What the network is for: {PURPOSES}; or what another package brings. The same as "
        "task=NAME.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ThreadsOption = Annotated[
    int, typer.Option(help="Threads within one operator.", callback=within(numbers.Threads))
]
BatchOption = Annotated[
    int, typer.Option(help="Images per inference.", callback=within(numbers.Batch))
]
BudgetOption = Annotated[
    float | None,
    typer.Option(help="Show the plan at this latency.", callback=within(numbers.Milliseconds)),
]
SpeedupOption = Annotated[
    float | None,
    typer.Option(help="Show the plan at this speed-up.", callback=within(numbers.Finite)),
]


def walk(
    recipe: Path,
    overrides: list[str] | None,
    run_dir: Path | None,
    until: str,
    *,
    start_from: Path | None = None,
    allow_code: bool = False,
) -> "Context":
    """Carry out a recipe's stages up to ``until``, as far as they are not done."""
    loaded, folder = loaded_recipe(recipe, overrides, run_dir)
    with loading():
        from depthopt.pipeline.run import run  # noqa: PLC0415 - torch takes seconds

    with ConsoleReporter(err) as reporter:
        return run(
            loaded,
            folder,
            until=until,
            reporter=reporter,
            start_from=start_from,
            allow_code=allow_code,
        )


def loaded_recipe(
    recipe: Path, overrides: list[str] | None, run_dir: Path | None
) -> "tuple[Recipe, Path]":
    """A recipe whose files are there, and the folder of its run; without torch.

    Raises:
        RecipeError: it does not follow its schema.
        UsageError: a file that it names does not exist.
    """
    from depthopt.pipeline.named_files import require_files  # noqa: PLC0415 - help needs none of it
    from depthopt.pipeline.recipe import load_recipe  # noqa: PLC0415 - as above

    loaded, folder = load_recipe(recipe, overrides or []), run_dir or Path("runs") / recipe.stem
    require_files(loaded, folder)
    return loaded, folder


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Say on a terminal that torch is loaded, for as long as what is imported inside takes."""
    if "torch" in sys.modules or not err.is_terminal:
        yield
        return
    with err.status("loading torch ..."):
        yield


def network_of(model: str, input_size: InputSize, checkpoint: Path | None = None) -> "nn.Module":
    """A network as the command line names it, in evaluation mode; what it loads is told.

    It has as many outputs as the checkpoint, if there is one.
    """
    require_there(model, checkpoint)
    with loading():
        from depthopt.models.checkpoints import load_checkpoint  # noqa: PLC0415 - torch takes seconds
        from depthopt.models.registry import create_model, model_arguments  # noqa: PLC0415

    def made(outputs: int | None = None) -> "nn.Module":
        # It was named on the command line, and in no file that somebody else may have written.
        return create_model(model, model_arguments(model, input_size, outputs), allow_code=True)

    network = made()
    if checkpoint is not None:
        loaded = load_checkpoint(network, checkpoint, name=model)
        if loaded.head_outputs is not None:
            network = made(loaded.head_outputs)
            loaded = load_checkpoint(network, checkpoint, name=model)
        err.print(loaded.said, highlight=False, markup=False)
    return network.eval()


def name_of(model: str) -> str:
    """What tables and chains call a network that the command line names."""
    from depthopt.models.names import digest_of_code, told_as  # noqa: PLC0415 - as above

    return told_as(model, digest_of_code(model))


def chain_of(model: str, input_size: InputSize, checkpoint: Path | None = None) -> "Chain":
    """The chain of a network as the command line names it."""
    require_there(model, checkpoint)
    from depthopt.extraction.extract import extract  # noqa: PLC0415 - torch takes seconds

    return extract(network_of(model, input_size, checkpoint), input_size, name=name_of(model))


def input_size_of(text: str) -> InputSize:
    """(channels, height, width) from ``SIDE``, ``C,H,W`` or ``CxHxW``, or named inputs."""
    if "=" in text:
        try:
            return InputSpec.parse(text)
        except ValueError as error:
            raise UsageError(f"input size: {error}") from None
    sides = [numbers.whole(part) for part in text.replace("x", ",").split(",")]
    match sides:
        case [int(side)] if side:
            channels, height, width = 3, side, side
        case [int(channels), int(height), int(width)] if all(sides):
            pass
        case _:
            raise UsageError(
                f"input size {clipped(text)} is neither one side, such as 64, nor of the form "
                "C,H,W, such as 3,224,224"
            )
    try:
        return fitting((channels, height, width))
    except ValueError as error:
        raise UsageError(f"input size: {error}") from None


def require_there(model: str, checkpoint: Path | None) -> None:
    """Refuse a network of a file, or a checkpoint, that is not there.

    Raises:
        UsageError: there is no such file.
    """
    from depthopt.models.names import callable_of  # noqa: PLC0415 - help needs none of it

    found = callable_of(model)
    if found is not None and found.is_file and (why := _why_no_file(Path(found.place))):
        raise UsageError(f"{found.place} {why}; {found.name or 'it'} was to make the network")
    if checkpoint is not None and (why := _why_no_file(checkpoint)):
        raise UsageError(f"--checkpoint {checkpoint} {why}")


def _why_no_file(path: Path) -> str:
    if path.is_file():
        return ""
    return "is a folder, expected a file" if path.is_dir() else "does not exist"


def require_no_checkpoint(checkpoint: Path | None) -> None:
    """Refuse a checkpoint beside a recipe, which names its own.

    Raises:
        UsageError: there is one.
    """
    if checkpoint is not None:
        raise UsageError(
            "--checkpoint goes with a network's name; for a recipe write "
            f"model.checkpoint={checkpoint}"
        )


def require_own(model: str, overrides: list[str] | None, run_dir: Path | None) -> None:
    """Refuse what only a recipe takes beside a model's name.

    Raises:
        UsageError: there are overrides, or a run's folder.
    """
    if overrides:
        raise UsageError(f"{clipped(overrides[0])} changes a recipe; {model} is a model's name")
    if run_dir is not None:
        raise UsageError(f"--run-dir goes with a recipe; {model} is a model's name")
