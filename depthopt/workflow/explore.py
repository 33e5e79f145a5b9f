"""``depthopt.explore``: what compressing a user's network is worth."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from torch import nn

from depthopt.core.explored import Explored
from depthopt.data.dataset import Dataset
from depthopt.pipeline.context import Reporter
from depthopt.pipeline.explore import MINUTES, SPEEDUPS
from depthopt.pipeline.explore import explore as explore_recipe
from depthopt.workflow.progress import ConsoleReporter
from depthopt.workflow.setup import set_up
from depthopt.workflow.wish import TorchData, wish_of


def explore(
    model: nn.Module | str,
    data: TorchData | Dataset | str | Path,
    minutes: float = MINUTES,
    *,
    run_dir: str | Path,
    test: TorchData | None = None,
    speedups: Sequence[float] = SPEEDUPS,
    input_size: int | tuple[int, int, int] | None = None,
    checkpoint: str | Path | None = None,
    pretrained: bool = False,
    epochs: int | None = None,
    seed: int = 0,
    task: str | None = None,
    overrides: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Explored:
    """Find out in minutes how fast a network can get on this machine, and what that costs.

    For each speed-up, a plan is timed, carried out and finetuned a little. A range says how
    accurate a whole finetune would make it. ``depthopt.compress`` with the same ``run_dir`` uses
    what is found here.

    Args:
        model: as ``depthopt.compress`` takes it.
        data: likewise.
        minutes: to take; the original's training, if there is one, comes on top.
        run_dir: folder of the run; made if it does not exist.
        test: as ``depthopt.compress`` takes it, and so are those that are not told of here.
        speedups: to look for.
        input_size: a side in pixels, or (channels, height, width); by default of the data.
        checkpoint: file of trained weights, where ``model`` is a name.
        pretrained: take the weights of the network's source, where ``model`` is a name.
        epochs: of the finetune.
        seed: of initialisation, order and augmentation.
        task: what the network is for, as ``depthopt.compress`` takes it.
        overrides: ``key.path=value`` of the recipe.
        reporter: receives the progress; by default lines on the standard error.

    Raises:
        DepthoptError: what was asked for cannot be done; the message says why.
    """
    wish = wish_of(
        model,
        data,
        test,
        input_size=input_size,
        checkpoint=checkpoint,
        pretrained=pretrained,
        epochs=epochs,
        seed=seed,
        task=task,
        overrides=overrides,
    )
    setup = set_up(wish)
    console = Console(stderr=True, quiet=reporter is not None)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    for what, choice in setup.remarks:
        say(f"{what:<8} {choice}")

    def explored(told: Reporter) -> Explored:
        return explore_recipe(
            setup.recipe,
            Path(run_dir),
            minutes=minutes,
            speedups=speedups,
            reporter=told,
            say=say,
            allow_code=wish.allow_code,
            model=wish.given,
            data=wish.given_data,
        )

    if reporter is not None:
        return explored(reporter)
    with ConsoleReporter(console) as own:
        return explored(own)
