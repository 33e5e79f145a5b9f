"""``depthopt explore``: find out how fast a network can get, and what that costs."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthopt.cli.options import (
    AllowCode,
    AsJson,
    CheckpointOption,
    ModelArgument,
    Overrides,
    TaskOption,
    console,
    err,
    loaded_recipe,
    loading,
    require_no_checkpoint,
    within,
)
from depthopt.cli.wishes import (
    Asked,
    EpochsOption,
    PretrainedOption,
    SeedOption,
    SideOption,
    set_up,
)
from depthopt.core import numbers
from depthopt.core.artefacts import to_json
from depthopt.core.clipped import clipped
from depthopt.core.shipped import is_recipe
from depthopt.errors import UsageError
from depthopt.pipeline.overrides import with_keys
from depthopt.workflow.progress import ConsoleReporter

if TYPE_CHECKING:  # torch takes seconds to import; --help needs none of it
    from depthopt.core.explored import Explored
    from depthopt.pipeline.recipe import Recipe


@dataclass(frozen=True, slots=True)
class _Work:
    """What to explore.

    Attributes:
        recipe: of the run.
        folder: of it.
        command: that makes a network, less its speed-up and its folder.
        speedup: how that command takes a speed-up.
        place: how it takes the folder.
        allow_code: whether the recipe's code may run.
    """

    recipe: "Recipe"
    folder: Path
    command: tuple[str, ...]
    speedup: str
    place: str
    allow_code: bool


def explore(
    model: ModelArgument,
    overrides: Overrides = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data, for a network given by name: digits; a folder or tar of images; wds/PATH, "
            "hfds/NAME or torch/NAME.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float,
        typer.Option(
            help="Minutes to take. If the original is trained first, that takes longer.",
            callback=within(numbers.Positive),
        ),
    ] = 5.0,
    speedups: Annotated[
        str | None,
        typer.Option(
            help="Speed-ups to look for, such as 1.5,2. With fewer, each gets more time.",
            show_default="1.25,1.5,2,2.5,3,4",
        ),
    ] = None,
    input_size: SideOption = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    epochs: EpochsOption = None,
    task: TaskOption = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "--run-dir",
            help="Folder of the run; runs/RECIPE or runs/MODEL-DATA by default. Later runs in it "
            "use what was found.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = 0,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Find out in minutes how fast a network can get, and what that costs in accuracy.

    For each of several speed-ups, a plan is timed, carried out and finetuned a little. A range says
    how accurate a whole finetune would make it. What is found stays in the run's folder, and the
    run uses it. Exploring that was stopped goes on when you start it again.
    """
    wished = _speedups(speedups)
    if is_recipe(model):
        require_no_checkpoint(checkpoint)
        given = {"--data": data, "--input-size": input_size, "--epochs": epochs, "--task": task}
        _refuse({**given, "--pretrained": pretrained or None, "--seed": seed or None}, model)
        recipe, folder = loaded_recipe(Path(model), overrides, run_dir)
        code = ("--allow-code",) if allow_code else ()
        command = ("depthopt", "run", model, *(overrides or []), *code)
        work = _Work(recipe, folder, command, "budget={{speedup: {}}}", "--run-dir", allow_code)
    elif data is None:
        raise UsageError(f"say what {model} is trained on: --data digits, or a folder of images")
    else:
        asked = Asked(
            model=model,
            data=data,
            changes=with_keys(overrides, task=task),
            input_size=input_size,
            checkpoint=checkpoint,
            pretrained=pretrained,
            epochs=epochs,
            seed=seed,
        )
        _, setup = set_up(asked)
        folder = run_dir or Path("runs") / asked.name
        work = _Work(setup.recipe, folder, _compressing(asked), "--speedup={}", "--out", True)
    found = _explored(work, minutes, wished)
    if as_json:
        print(to_json(found))
        return
    show_explored(found)
    if found.recommended is not None:
        budget = work.speedup.format(f"{found.recommended:g}")
        words = (*work.command, budget, work.place, str(work.folder))
        print(f"To make it: {shlex.join(words)}")


def _refuse(given: dict[str, object], recipe: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise UsageError(
                f"{option} goes with a network's name; {recipe} is a recipe, which sets it itself"
            )


def _compressing(asked: Asked) -> tuple[str, ...]:
    """The command that compresses what was asked for, without speed-up and folder."""
    options = {
        "--data": asked.data,
        "--input-size": asked.input_size,
        "--checkpoint": asked.checkpoint,
        "--epochs": asked.epochs,
        "--seed": asked.seed or None,
    }
    words = [word for k, v in options.items() if v is not None for word in (k, str(v))]
    loaded = ("--pretrained",) if asked.pretrained else ()
    return ("depthopt", "compress", asked.model, *(asked.changes or []), *words, *loaded)


def _speedups(text: str | None) -> tuple[float, ...] | None:
    """The speed-ups in a list as text."""
    if text is None:
        return None
    try:
        return tuple(
            numbers.require(numbers.Positive, "speed-up", float(t)) for t in text.split(",")
        )
    except ValueError:
        raise UsageError(f"--speedups is {clipped(text)}, expected numbers such as 1.5,2") from None


def _explored(work: _Work, minutes: float, speedups: tuple[float, ...] | None) -> "Explored":
    with loading():
        from depthopt.pipeline.explore import SPEEDUPS  # noqa: PLC0415 - torch takes seconds
        from depthopt.pipeline.explore import explore as explored  # noqa: PLC0415 - as above

    with ConsoleReporter(err) as reporter:
        return explored(
            work.recipe,
            work.folder,
            minutes=minutes,
            speedups=speedups or SPEEDUPS,
            reporter=reporter,
            say=lambda text: err.print(text, highlight=False, markup=False),
            allow_code=work.allow_code,
        )


def show_explored(found: "Explored") -> None:
    """Print what exploring found, and which speed-up is recommended."""
    from rich.table import Table  # noqa: PLC0415 - help needs none of it

    from depthopt.report import explored as shown  # noqa: PLC0415 - as above

    table = Table(*shown.headings(found), title=f"{found.model} on {found.data}")
    for row in shown.rows(found):
        table.add_row(*row)
    console.print(table)
    if plot := shown.plot(found):
        console.print(plot, highlight=False, markup=False)
        said = "= expected, o untrained, - the original"
        console.print(said, highlight=False, markup=False)
    for text in (shown.expectation(found), shown.recommendation(found)):
        console.print(text, highlight=False, markup=False)
