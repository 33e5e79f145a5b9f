"""Compress a part of a network that is named, and say what became of the whole."""

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from torch import nn

from depthopt.core.artefacts import save_json
from depthopt.core.inputs import InputSpec, image_size
from depthopt.core.numbers import Positive
from depthopt.data.dataset import Dataset
from depthopt.data.load import load_dataset
from depthopt.data.resolve import source_from_everywhere
from depthopt.errors import UsageError
from depthopt.models.checkpoints import load_checkpoint
from depthopt.models.memory import memory_name
from depthopt.models.registry import create_model, model_arguments, preprocessing_of
from depthopt.pipeline.context import BATCH
from depthopt.pipeline.overrides import changes_of
from depthopt.pipeline.own_metric import function_name, require_function, told_by
from depthopt.pipeline.recipe import Recipe
from depthopt.pipeline.result import Result
from depthopt.workflow.changes import overridden
from depthopt.workflow.compress import Compressed
from depthopt.workflow.part import MOST_EXAMPLES, Part, part_of
from depthopt.workflow.wish import Wish

_AS_THEY_ARE = (0.0,), (1.0,)
"""Mean and standard deviation of pixels from 0 to 1 that are left so."""

_BATCH = 8
"""Number of images that the whole network gets at a time."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What became of a network, a part of which was compressed.

    Attributes:
        part: path of the part.
        speedup: of the whole network over the original, in torch's eager mode.
        result: of the part's run.
        metric: name of the user's own metric of the whole network; empty if there is none.
        original: what it says of the original.
        compressed: what it says of the network with the faster part.
    """

    part: str
    speedup: Positive
    result: Result
    metric: str = ""
    original: float | None = None
    compressed: float | None = None


@dataclass(frozen=True, slots=True)
class Within:
    """A part that is to be compressed.

    Attributes:
        part: with what it gets.
        data: what the whole network gets.
        wish: for the part alone.
        metric: of the whole network: a function's name; None if there is none.
    """

    part: Part
    data: Dataset
    wish: Wish
    metric: str | None

    def whole(self, done: Compressed) -> Whole:
        """Put the faster part back, time and judge the whole, and keep that in the run's folder."""
        network = self.part.put_back(done.network)
        found = Whole(self.part.name, self.part.speedup(network), done.result)
        if self.metric is not None:
            test = self.data.test
            before, after = (
                told_by(self.metric, each, test.batches(BATCH))
                for each in (self.part.whole, network)
            )
            found = replace(
                found, metric=function_name(self.metric), original=before, compressed=after
            )
        save_json(found, done.folder / "whole.json")
        return found


def within(wish: Wish, name: str) -> Within:
    """Record what a part of the network of a wish gets, on the images to train on alone.

    The images to test on are for the metric of the whole network.

    Images are normalised as the network's source says, and left as they are, from 0 to 1, where it
    says nothing, as detectors expect it; ``data.mean`` and ``data.std`` say otherwise.

    Args:
        wish: for the whole network.
        name: path of the part.

    Raises:
        UsageError: no size of the images is named, the weights are not, or there is no such part.
        DepthoptError: the network cannot be made, the data cannot be used, or the part is called in
            a way that cannot be recorded.
    """
    changed, keys = overridden(wish.model, wish.overrides), changes_of(wish.overrides)
    if changed.metric is not None:
        require_function(changed.metric, allow_code=wish.allow_code)
    model, data = _network(wish, changed), _data(wish, changed)
    splits = (data.train, data.calibration)
    batches = chain.from_iterable(split.batches(_BATCH) for split in splits)
    images = changed.data.calibration_images
    recorded = (inputs for inputs, _ in batches)
    part = part_of(
        model, name, recorded, calibration_images=images, most=MOST_EXAMPLES, seed=wish.seed
    )
    left = [o for o in wish.overrides if not o.startswith(("data.", "model.", "metric="))]
    if "task" not in keys:
        left.append("task=matching")
    return Within(
        part,
        data,
        Wish(
            model=memory_name(part.module),
            data=part.data.name,
            speedup=wish.speedup,
            epochs=wish.epochs,
            seed=wish.seed,
            overrides=left,
            allow_code=wish.allow_code,
            given=part.module,
            given_data=part.data,
        ),
        changed.metric,
    )


def _network(wish: Wish, changed: Recipe) -> nn.Module:
    """The whole network, with its weights."""
    checkpoint = wish.checkpoint or changed.model.checkpoint
    pretrained = wish.pretrained or changed.model.pretrained
    if checkpoint is None and not pretrained:
        raise UsageError(
            "a part learns to give what the original's gives, and no weights are named; name a "
            "checkpoint, or take the source's with pretrained"
        )
    arguments: dict[str, Any] = {
        **model_arguments(wish.model, _size(wish, changed), None),
        **changed.model.arguments,
    }
    if pretrained and checkpoint is None:
        arguments["pretrained"] = True
    model = create_model(wish.model, arguments, allow_code=wish.allow_code)
    if checkpoint is not None:
        load_checkpoint(model, Path(checkpoint), name=wish.model)
    return model.eval()


def _size(wish: Wish, changed: Recipe) -> tuple[int, int, int]:
    given = wish.input_size
    if "input_size" in changes_of(wish.overrides).get("model", {}):
        given = changed.model.input_size
    if given is None or isinstance(given, InputSpec):
        raise UsageError(
            "a part is recorded on images of one size; name it, such as --input-size 320 (in "
            "Python: depthopt.part_of)"
        )
    return (3, given, given) if isinstance(given, int) else image_size(given)


def _data(wish: Wish, changed: Recipe) -> Dataset:
    """The images, as the whole network takes them."""
    own, given, size = preprocessing_of(wish.model), changed.data, _size(wish, changed)
    mean, std = _AS_THEY_ARE if own is None else (own.mean, own.std)
    return load_dataset(
        source_from_everywhere(wish.data),
        input_size=size,
        calibration_images=1,
        seed=wish.seed,
        root=given.root,
        mean=given.mean or mean,
        std=given.std or std,
        interpolation=given.interpolation,
        crop_pct=given.crop_pct,
        workers=given.workers,
        check=given.check,
        skip_damaged=given.damaged == "skip",
    )
