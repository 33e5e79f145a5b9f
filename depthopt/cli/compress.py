"""``depthopt compress`` and ``depthopt init``: a recipe for a network and data, and its run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthopt.cli.options import (
    AsJson,
    CheckpointOption,
    MethodOption,
    TaskOption,
    console,
    err,
)
from depthopt.cli.show import show_forecast, show_result, show_whole
from depthopt.cli.wishes import (
    Asked,
    Changes,
    DataOption,
    EpochsOption,
    NetworkArgument,
    PretrainedOption,
    SeedOption,
    SideOption,
    SpeedupAsked,
    chosen_for,
    set_up,
    wish_for,
)
from depthopt.core.artefacts import to_json
from depthopt.core.writing import write_text
from depthopt.errors import UsageError
from depthopt.pipeline.overrides import with_keys
from depthopt.workflow.progress import ConsoleReporter

if TYPE_CHECKING:  # torch takes seconds to import; --help needs none of it
    from depthopt.workflow.setup import Setup
    from depthopt.workflow.wish import Wish


def compress(
    model: NetworkArgument,
    data: DataOption,
    changes: Changes = None,
    speedup: SpeedupAsked = None,
    method: MethodOption = None,
    task: TaskOption = None,
    input_size: SideOption = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    epochs: EpochsOption = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="Compress this part of the network alone, such as backbone.body, and put it back. "
            "The network around it need not be traced.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; runs/MODEL-DATA by default. A run that was stopped goes on "
            "from there.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = 0,
    as_json: AsJson = False,
) -> None:
    """Make a network faster on this machine, and say how fast and how accurate it is.

    What you do not ask for is chosen from the network, its checkpoint and the data, and printed.
    Without --checkpoint and --pretrained the original is trained first. With --task matching no
    labels are needed: the network learns to give what the original gives. Without --speedup,
    depthopt first explores for some minutes which one is worth it, as `depthopt explore` does. The
    run folder holds the faster network as fused.onnx, a report, and the whole recipe.

    For example: depthopt compress torchvision:mobilenet_v2 --checkpoint mine.pth --data photos
    --speedup 1.5
    """
    asked = Asked(
        model=model,
        data=data,
        changes=with_keys(changes, method=method, task=task),
        speedup=speedup,
        input_size=input_size,
        checkpoint=checkpoint,
        pretrained=pretrained,
        epochs=epochs,
        seed=seed,
    )
    wish, around = wish_for(asked), None
    from depthopt.workflow.compress import carry_out, with_budget  # noqa: PLC0415 - torch takes seconds
    from depthopt.workflow.whole import within  # noqa: PLC0415 - as above

    if part is not None:
        around = within(wish, part)
        wish = around.wish
    setup, folder = chosen_for(wish), out or Path("runs") / asked.name
    _foresee(wish, setup, folder)
    with ConsoleReporter(err) as reporter:
        setup = with_budget(wish, setup, folder, reporter=reporter, say=_say)
        done = carry_out(wish, setup, folder, reporter=reporter)
    whole = None if around is None else around.whole(done)
    if as_json:
        print(to_json(whole or done.result))
        return
    show_result(console, done.result)
    if whole is not None:
        show_whole(console, whole)
    console.print(f"report:      {folder / 'report' / 'report.html'}", highlight=False)


def init(
    model: NetworkArgument,
    data: DataOption,
    changes: Changes = None,
    speedup: SpeedupAsked = None,
    method: MethodOption = None,
    task: TaskOption = None,
    input_size: SideOption = None,
    checkpoint: CheckpointOption = None,
    pretrained: PretrainedOption = False,
    epochs: EpochsOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; MODEL-DATA.yaml by default.", show_default=False),
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Write the recipe that `depthopt compress` would carry out, with a comment on every key."""
    asked = Asked(
        model=model,
        data=data,
        changes=with_keys(changes, method=method, task=task),
        speedup=speedup,
        input_size=input_size,
        checkpoint=checkpoint,
        pretrained=pretrained,
        epochs=epochs,
        seed=seed,
    )
    path = out or Path(f"{asked.name}.yaml")
    if path.exists():
        raise UsageError(f"{path} exists; name another file with --out, or remove it")
    _, setup = set_up(asked)
    from depthopt.workflow.commented import commented  # noqa: PLC0415 - torch takes seconds

    runs_code = " --allow-code" if setup.runs_code else ""
    recipe = setup.recipe.moved_to(path.parent)
    write_text(path, commented(recipe, command=f"depthopt run {path.name}{runs_code}"))
    print(path)


def _say(text: str) -> None:
    err.print(text, highlight=False, markup=False)


def _foresee(wish: "Wish", setup: "Setup", folder: Path) -> None:
    """Print how long the stages will take. Stop if something would make them fail."""
    from depthopt.pipeline.dry_run import dry_run  # noqa: PLC0415 - torch takes seconds

    found = dry_run(
        setup.recipe,
        folder,
        allow_code=wish.allow_code,
        model=wish.given,
        data=wish.given_data,
    )
    show_forecast(err, found)
    if found.problems:
        raise UsageError(f"{found.problems[0]} (nothing was begun)")
