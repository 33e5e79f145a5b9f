"""Make a whole recipe for a network and data, as a user names them.

What is not asked for is taken from the checkpoint, the data and the network's own configuration,
and each such choice is said in a remark.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from depthopt.core.clipped import clipped
from depthopt.core.counted import counted
from depthopt.core.inputs import InputSize, InputSpec, size_text
from depthopt.data.dataset import Dataset, Preprocessing
from depthopt.data.described import contents, described
from depthopt.data.load import load_dataset
from depthopt.data.resolve import source_from_everywhere
from depthopt.data.sides import stored_size
from depthopt.errors import DataError, DepthoptError, UsageError
from depthopt.models.checkpoints import Loaded, load_checkpoint
from depthopt.models.head import new_head
from depthopt.models.memory import copy_of
from depthopt.models.names import runs_code
from depthopt.models.outputs import require_outputs
from depthopt.models.registry import create_model, model_arguments, preprocessing_of, trained_for
from depthopt.pipeline.methods import DEPTHOPT
from depthopt.pipeline.overridden import told
from depthopt.pipeline.overrides import changes_of
from depthopt.pipeline.recipe import Recipe, make_recipe
from depthopt.tasks.registry import task_of
from depthopt.tasks.task import Task
from depthopt.workflow.changes import WHERE, names_other_budget, overridden
from depthopt.workflow.wish import Wish

SPEEDUP = 2.0
"""Default speed-up."""

GRID = 32
"""A chosen side is a multiple of this, because networks halve their images five times."""

LARGEST = 224
"""Longest side of images for networks whose source does not name a size."""

STEPS = 600
"""Fewest steps of a finetune, in as many epochs as that takes."""

EPOCHS = 6, 30
"""Fewest and most epochs of a finetune."""

SMALL = 4_000
"""Number of training images below which a step takes 32 of them, and not 64."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A recipe with the choices made for it.

    Attributes:
        recipe: complete.
        remarks: (what, which) in words.
    """

    recipe: Recipe
    remarks: tuple[tuple[str, str], ...]

    @property
    def runs_code(self) -> bool:
        """Whether a command that is given the recipe needs ``--allow-code``."""
        return runs_code(self.recipe.model.name)


@dataclass(frozen=True, slots=True)
class _Fit:
    """A network that was made for the data, to see that it can be.

    Attributes:
        size: of its inputs.
        loaded: what was read from the checkpoint, if there is one.
        new_head: why its last layer must be trained, in words; empty if it need not be.
    """

    size: InputSize
    loaded: Loaded | None
    new_head: str


def set_up(wish: Wish) -> Setup:
    """A recipe for what a user asks for.

    Raises:
        UsageError: both a checkpoint and ``pretrained`` are given.
        DataError: the data set is missing or has too few images.
        ModelError: the network cannot be made for the data.
        ArtefactError: the checkpoint cannot be read, or is of another network.
        RecipeError: an override is wrong.
    """
    wish, changed = _settled(wish)
    if wish.checkpoint is not None and wish.pretrained:
        raise UsageError("a checkpoint and pretrained weights are given; leave out one of the two")
    source = wish.data if wish.given_data is not None else source_from_everywhere(wish.data)
    data = wish.given_data or _examples(wish, source, changed)
    if _task(wish).imitates:
        if not wish.has_weights:
            raise UsageError(
                f"task {changed.task} imitates the original, and no weights are named; name a "
                "checkpoint, or take the source's with pretrained"
            )
        data = replace(data, class_names=())
    if len(data.class_names) == 1:
        raise DataError(
            f"{data.name} has one class, {clipped(data.class_names[0])}; two or more are needed"
        )
    own = None if wish.given is not None else preprocessing_of(wish.model)
    fit = _fitted(wish, data, own)
    if wish.given_data is not None and data.class_names and (fit.new_head or not wish.has_weights):
        _require_all_labels(data)
    other_budget = names_other_budget(wish.overrides)
    content: dict[str, Any] = {
        "model": {
            "name": wish.model,
            "input_size": _plain(fit.size),
            "pretrained": wish.pretrained,
            "checkpoint": None if wish.checkpoint is None else str(wish.checkpoint.resolve()),
        },
        "data": {"source": source, **_look(wish, own, fit.size)},
        "budget": {} if other_budget else {"speedup": wish.speedup or SPEEDUP},
        "teacher": _training(len(data.train), None, longer=1 if wish.has_weights else 2),
        "finetune": _training(len(data.train), wish.epochs) | {"learning_rate": 1e-3},
        "seed": wish.seed,
    }
    if wish.has_weights:
        content["teacher"]["learning_rate"] = 5e-4
    recipe = make_recipe(content, wish.overrides, where=WHERE)
    return Setup(recipe.beside(Path()), tuple(_remarks(wish, recipe, data, fit)))


def _task(wish: Wish) -> Task:
    return task_of(overridden(wish.model, wish.overrides).task)


def _require_all_labels(data: Dataset) -> None:
    """Refuse labels with gaps, of which nobody can tell whether a class or a number is missing.

    Raises:
        DataError: a number from 0 on is not an example's label.
    """
    targets = data.train.targets
    seen = {0} if targets is None or targets.dim() > 1 else set(targets.tolist())
    missing = [label for label in range(max(seen) + 1) if label not in seen]
    if missing:
        raise DataError(
            f"no example has the label {missing[0]}, and labels go to {max(seen)}; number the "
            "classes from 0 without a gap, or give a network with an output for each"
        )


def _settled(wish: Wish) -> tuple[Wish, Recipe]:
    """What is asked for, with what its overrides say of the network; and these in a recipe."""
    changed = overridden(wish.model, wish.overrides)
    section, keys = changed.model, changes_of(wish.overrides).get("model", {})
    size = section.input_size if "input_size" in keys else wish.input_size
    return (
        replace(
            wish,
            input_size=size,
            checkpoint=wish.checkpoint if section.checkpoint is None else section.checkpoint,
            pretrained=wish.pretrained or section.pretrained,
            arguments=section.arguments,
        ),
        changed,
    )


def _plain(size: InputSize) -> Any:
    return str(size) if isinstance(size, InputSpec) else list(size)


def _examples(wish: Wish, source: str, changed: Recipe) -> Dataset:
    """The data set, for its classes and the sizes of its images."""
    size = wish.input_size
    return load_dataset(
        source,
        input_size=(3, GRID, GRID) if size is None or isinstance(size, int) else size,
        calibration_images=changed.data.calibration_images,
        seed=wish.seed,
        root=changed.data.root,
        workers=0,
        check=False,
    )


def _fitted(wish: Wish, data: Dataset, own: Preprocessing | None) -> _Fit:
    """The network for the data: of as many channels as its images have, if it can be so made."""
    if wish.given_data is not None and not _is_size(wish.input_size, data.input_size):
        raise UsageError(
            f"input_size is {wish.input_size}, the images given are {size_text(data.input_size)}; "
            "give images of the size that you want"
        )
    if isinstance(wish.input_size, InputSpec | tuple):
        return _made(wish, data, wish.input_size)
    if wish.given_data is not None:
        return _made(wish, data, data.input_size)
    channels, side = _stored(data)
    if wish.input_size is not None:
        side = wish.input_size
    elif own is not None and wish.pretrained:
        side = own.input_size[1]
    else:
        side = min(-(-side // GRID) * GRID, LARGEST if own is None else own.input_size[1])
    refused: DepthoptError | None = None
    for number in dict.fromkeys((channels, 3, 1)):
        try:
            return _made(wish, data, (number, side, side))
        except DepthoptError as error:
            refused = refused or error
    assert refused is not None  # noqa: S101 - narrows: the loop has run
    raise refused


def _is_size(asked: int | InputSize | None, own: InputSize) -> bool:
    if isinstance(asked, int):
        return not isinstance(own, InputSpec) and own[1:] == (asked, asked)
    return asked is None or asked == own


def _stored(data: Dataset) -> tuple[int, int]:
    """(channels, side) of the images as they are stored, or as they are given."""
    stored = stored_size(data)
    if stored is not None:
        return stored
    size = data.input_size
    if isinstance(size, InputSpec):
        raise UsageError(f"the inputs of {data.name} are {size}; give them as the input size too")
    return size[0], min(size[1:])


@torch.random.fork_rng()
def _made(wish: Wish, data: Dataset, size: InputSize) -> _Fit:
    """See that the network can be made for inputs of a size, and takes the weights.

    Raises:
        DepthoptError: it cannot, or does not.
    """
    outputs = len(data.class_names) or None
    own = {**model_arguments(wish.model, size, outputs), **wish.arguments}
    if wish.given is not None:
        network = copy_of(wish.given, own)
    else:
        own |= {"pretrained": True} if wish.pretrained and runs_code(wish.model) else {}
        network = create_model(wish.model, own, allow_code=wish.allow_code)
    size = _of_first_convolution(network, size)
    if outputs is not None:
        require_outputs(network, size, outputs, wish.model, maps=_task(wish).maps)
    if wish.given is not None or (wish.pretrained and runs_code(wish.model)):
        return _Fit(size, None, new_head(network) or "")
    if wish.checkpoint is not None:
        loaded = load_checkpoint(network, wish.checkpoint, name=wish.model)
        return _Fit(size, loaded, loaded.head_replaced or "")
    known = trained_for(wish.model) if wish.pretrained else None
    if wish.pretrained and known != outputs and not _task(wish).imitates:
        return _Fit(size, None, f"its weights are for {known} classes, the data has {outputs}")
    return _Fit(size, None, "")


def _of_first_convolution(network: nn.Module, size: InputSize) -> InputSize:
    """The size with the channels that a network takes, whatever it was made for."""
    if isinstance(size, InputSpec):
        return size
    convolutions = (layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    first = next(convolutions, None)
    return size if first is None else (first.in_channels, *size[1:])


def _look(wish: Wish, own: Preprocessing | None, size: InputSize) -> dict[str, Any]:
    """What images are to look like, as the network's weights expect it."""
    if own is None or isinstance(size, InputSpec) or size[0] != len(own.mean):
        return {}
    if wish.pretrained:
        look = {"interpolation": own.interpolation, "crop_pct": own.crop_pct}
        return {"mean": list(own.mean), "std": list(own.std), **look}
    if wish.checkpoint is not None:
        return {"mean": list(own.mean), "std": list(own.std)}
    return {}


def _training(images: int, epochs: int | None, *, longer: int = 1) -> dict[str, Any]:
    """How a network is trained on so many images, ``longer`` times as long as a finetune is."""
    batch = 32 if images < SMALL else 64
    fewest, most = EPOCHS
    chosen = min(max(-(-STEPS * batch // max(images, 1)), fewest), most)
    return {"epochs": epochs or longer * chosen, "batch_size": batch}


def _remarks(wish: Wish, recipe: Recipe, data: Dataset, fit: _Fit) -> Iterator[tuple[str, str]]:
    yield "network", f"{wish.model}, {_budget(recipe)}" if wish.names_budget else wish.model
    yield "weights", _weights(wish, fit)
    yield "data", contents(data)
    yield "images", described(replace(data, preprocessing=_preprocessing(recipe, data)))
    where = recipe.latency
    threads = counted(where.threads, "thread")
    device = f"{where.runtime} on {where.device}, {where.dtype}, batch {where.batch}, {threads}"
    yield "device", device
    if recipe.method != DEPTHOPT:
        yield "method", told(recipe)


def _budget(recipe: Recipe) -> str:
    budget = recipe.budget
    if budget.speedup is not None:
        return f"at least {budget.speedup:g} times as fast"
    return f"at most {budget.ms:g} ms" if budget.ms is not None else f"cost {budget.cost:g} at most"


def _preprocessing(recipe: Recipe, data: Dataset) -> Preprocessing | InputSize:
    size, look, own = recipe.model.input_size, data.preprocessing, recipe.data
    if isinstance(size, InputSpec) or not isinstance(look, Preprocessing):
        return size
    mean, std = (own.mean or look.mean)[: size[0]], (own.std or look.std)[: size[0]]
    return Preprocessing(size, mean, std, own.interpolation, own.crop_pct)


def _weights(wish: Wish, fit: _Fit) -> str:
    if wish.given is not None:
        said = "as they are in memory"
    elif fit.loaded is not None:
        return fit.loaded.said  # of the head too
    elif wish.pretrained and runs_code(wish.model):
        said = "as the callable returns them"
    elif wish.pretrained:
        said = "of the network's source, downloaded where they are not there yet"
    else:
        return "none are given: the original is trained first"
    return f"{said}; a new head is trained first: {fit.new_head}" if fit.new_head else said
