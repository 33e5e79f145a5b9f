"""Check before a run that there are enough images, and that every training can begin.

Each is named by the recipe's key. A stage would refuse the same, but only once it is reached.
"""

from collections.abc import Callable, Iterator, Sequence

import torch

from depthopt.data.dataset import Dataset, Split, has_targets
from depthopt.errors import DataError, DepthoptError, UsageError
from depthopt.pipeline.context import Context
from depthopt.pipeline.original import start, teacher_is_trained
from depthopt.pipeline.short_training import shares
from depthopt.pipeline.stages import STAGES
from depthopt.rewrite.side_by_side import HELD_OUT_EVERY
from depthopt.train.config import TrainConfig
from depthopt.train.trainer import require_trackers, require_trainable

WITHOUT_DATA = ("extract", "solve")
"""Stages that do not read examples, or read them only for trials."""


def require_enough(run: Context, until: str) -> None:
    """Refuse a run that a stage up to ``until`` would refuse.

    Raises:
        DataError: the data cannot be had, or there are too few examples for one.
        UsageError: a setting cannot be worked with.
    """
    for problem in _problems(run, until):
        raise problem


def shortcomings(run: Context, until: str = "result") -> tuple[str, ...]:
    """All that ``require_enough`` would refuse, a line each. Empty without data."""
    return tuple(dict.fromkeys(map(str, _problems(run, until))))


def _problems(run: Context, until: str) -> Iterator[DepthoptError]:
    names = [stage.name for stage in STAGES]
    checks: dict[str, Sequence[Callable[[Context], Iterator[DepthoptError]]]] = {
        "teacher": (_targets, _teacher),
        "estimate": (_estimate,),
        "solve": (_trials,),
        "apply": (_apply,),
        "finetune": (lambda run: _training(run, "finetune", run.recipe.finetune),),
    }
    for stage in names[: names.index(until) + 1]:
        for check in checks.get(stage, ()):
            yield from check(run)


def _targets(run: Context) -> Iterator[DepthoptError]:
    """Every split must say what is right, in a way that the network can give."""
    if run.task.imitates:
        return
    data, width = run.data, run.task.width(run.data)
    for name, split in _splits(data):
        targets = split.targets
        if targets is None:
            if name != "train" and not has_targets(split):
                yield DataError(
                    f"data.source {data.name} has no targets in its {name} split, so nothing "
                    "says how good a network is; the task matching needs none"
                )
            continue
        if width is None or not len(targets):
            continue
        try:
            run.task.check_targets(
                torch.zeros(1, width, *([1, 1] if run.task.maps else [])), targets
            )
        except DataError as error:
            yield DataError(f"data.source {data.name}, {name} split: {error}")
    targets = data.train.targets
    if width is None or targets is None or targets.dtype != torch.int64 or targets.dim() != 1:
        return
    if not len(targets):
        return
    if bool((targets == targets[0]).all()):
        yield DataError(
            f"data.source {data.name} has only one target, {int(targets[0])}, on all of its "
            f"{len(targets)} training images; there is nothing to learn"
        )


def _splits(data: Dataset) -> Iterator[tuple[str, Split]]:
    for name in ("train", "calibration", "test"):
        yield name, getattr(data, name)


def _teacher(run: Context) -> Iterator[DepthoptError]:
    if run.task.imitates:
        try:
            start(run)
        except UsageError as error:
            yield error
    elif teacher_is_trained(run):
        yield from _training(run, "teacher", run.recipe.teacher)


def _estimate(run: Context) -> Iterator[DepthoptError]:
    section = run.recipe.importance
    if section.estimator != "finetune":
        return
    try:
        run.processes.require_one("estimate", "importance.estimator finetune")
    except UsageError as error:
        yield error
    images = shares(section, len(run.data.train))[0]
    yield from _training(run, "importance.train", section.train, images)
    yield from _regressed(run, "importance.images", section.images)


def _trials(run: Context) -> Iterator[DepthoptError]:
    if run.recipe.picked != "tried":
        return
    if run.recipe.trials.steps:
        try:
            run.processes.require_one("solve", "trials.steps")
        except UsageError as error:
            yield error
        yield from _training(run, "finetune", run.recipe.finetune)
    yield from _apply(run)


def _apply(run: Context) -> Iterator[DepthoptError]:
    yield from _regressed(run, "apply.images", run.recipe.apply.images)


def _regressed(run: Context, key: str, images: int) -> Iterator[DepthoptError]:
    """A convolution is regressed on all batches but one in so many."""
    why = f"regressing needs {HELD_OUT_EVERY} or more, of which one is held out"
    train = len(run.data.train)
    if images < HELD_OUT_EVERY:
        yield DataError(f"{key} is {images}; {why}")
    if train < HELD_OUT_EVERY:
        yield DataError(
            f"data.source {run.data.name} leaves {train} training images beside "
            f"{len(run.data.calibration)} held out (data.calibration_images); {why}"
        )


def _training(
    run: Context, section: str, config: TrainConfig, images: int | None = None
) -> Iterator[DepthoptError]:
    """That so many images can be trained on; by default all."""
    images = len(run.data.train) if images is None else images
    try:
        require_trainable(config, run.processes.number, images=images)
        if section != "importance.train":  # it tells no tracker
            require_trackers(config.trackers)
    except UsageError as error:
        yield UsageError(f"{section}: {error}")
