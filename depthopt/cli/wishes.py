"""What a user asks for on the command line: a network, data, and how fast."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthopt.cli.options import (
    err,
    input_size_of,
    loading,
    require_there,
    within,
)
from depthopt.core import numbers
from depthopt.core.shipped import is_recipe
from depthopt.errors import UsageError

if TYPE_CHECKING:  # torch takes seconds to import; --help needs none of it
    from depthopt.workflow.setup import Setup
    from depthopt.workflow.wish import Wish

NetworkArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A network: timm's name, torchvision:NAME, FILE.py:CALLABLE or "
        "package.module:CALLABLE, whose code is run.",
    ),
]
DataOption = Annotated[
    str,
    typer.Option(
        help="digits; a folder or tar of train/CLASS/IMAGE and val/CLASS/IMAGE; a folder of "
        "CLASS/IMAGE, which is split; images:PATH, without classes; masks:PATH or pairs:PATH, "
        "with an image for each; wds/PATH, hfds/NAME or torch/NAME."
    ),
]
SpeedupAsked = Annotated[
    float | None,
    typer.Option(
        help="Least measured speed-up: 2 means twice as fast.",
        callback=within(numbers.Positive),
        show_default=False,
    ),
]
SideOption = Annotated[
    str | None,
    typer.Option(
        help="Side of the images, such as 64, or channels, height and width, such as 3,64,64.",
        show_default=False,
    ),
]
PretrainedOption = Annotated[
    bool,
    typer.Option(
        "--pretrained",
        help="Use the pretrained weights of the network's source. They may be downloaded.",
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        help="Epochs of the finetune: passes over the training images.",
        callback=within(numbers.Count),
        show_default=False,
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(
        help="Seed of the initialisation and of the order of the images.",
        callback=within(numbers.Seed),
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY.PATH=VALUE]...",
        help="Other recipe keys, such as latency.runtime=openvino finetune.batch_size=64.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for.

    Attributes:
        model: name of the network.
        data: name or path of the data set.
        changes: of the recipe.
        speedup: over the original.
        input_size: as it was written.
        checkpoint: file of weights.
        pretrained: take the source's weights.
        epochs: of the finetune.
        seed: of initialisation and order.
    """

    model: str
    data: str
    changes: list[str] | None = None
    speedup: float | None = None
    input_size: str | None = None
    checkpoint: Path | None = None
    pretrained: bool = False
    epochs: int | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """A name for a folder or file: letters, digits, ``_``, ``-`` and dots of both."""
        place, _, callable_name = self.model.rpartition(":")
        model = f"{Path(place).stem}-{callable_name}" if place else self.model
        ends = model, Path(self.data).name
        return "-".join(re.sub(r"[^\w.-]+", "-", end).strip("-.") for end in ends)


def _look_at(asked: Asked) -> None:
    """Refuse what can be refused before torch is loaded.

    Raises:
        UsageError: a recipe is named where a network is expected; or a file, the data or a key of
            the recipe is not there.
    """
    from depthopt.data.resolve import source_from_everywhere  # noqa: PLC0415 - help needs none of it
    from depthopt.workflow.changes import overridden  # noqa: PLC0415 - as above

    if is_recipe(asked.model):
        raise UsageError(
            f"{asked.model} is a recipe, which names its network and data; carry it out with "
            f"depthopt run {asked.model}"
        )
    require_there(asked.model, asked.checkpoint)
    overridden(asked.model, asked.changes or ())
    source_from_everywhere(asked.data)


def set_up(asked: Asked) -> "tuple[Wish, Setup]":
    """Make the recipe for what was asked, and print what was chosen.

    Raises:
        DepthoptError: it cannot be done.
    """
    wish = wish_for(asked)
    return wish, chosen_for(wish)


def chosen_for(wish: "Wish") -> "Setup":
    """Make the recipe for a wish, and print what was chosen.

    Raises:
        DepthoptError: it cannot be done.
    """
    from depthopt.workflow.setup import set_up as found_for  # noqa: PLC0415 - torch takes seconds

    found = found_for(wish)
    for what, choice in found.remarks:
        err.print(f"{what:<8} {choice}", highlight=False, markup=False)
    return found


def wish_for(asked: Asked) -> "Wish":
    """Look at what is asked for, and load torch.

    Raises:
        DepthoptError: something of it is not there.
    """
    checkpoint, size = asked.checkpoint, None
    _look_at(asked)
    if asked.input_size is not None:
        side = numbers.whole(asked.input_size)
        size = side if side else input_size_of(asked.input_size)
    with loading():
        from depthopt.workflow.wish import Wish  # noqa: PLC0415 - as above

        return Wish(
            model=asked.model,
            data=asked.data,
            speedup=asked.speedup,
            input_size=size,
            checkpoint=checkpoint,
            pretrained=asked.pretrained,
            epochs=asked.epochs,
            seed=asked.seed,
            overrides=asked.changes or (),
            allow_code=True,  # it was named on the command line
        )
