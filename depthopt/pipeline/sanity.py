"""Check that the network is better than chance, and that the figures support the result.

Nothing here stops a run; what is found is said in the log, in a stage's line, and with the result.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from depthopt.core.metric import Metric
from depthopt.core.training import Standing, TrainResult
from depthopt.data.dataset import Split, strata, stratified
from depthopt.tables.latency import LatencySummary
from depthopt.tasks.evaluate import Evaluation, evaluate
from depthopt.tasks.task import Task

logger = logging.getLogger(__name__)

GLANCE = 200
"""Number of images for a first look at a network."""

FAR = 0.1
"""Share of the metric's scale by which a network is far from what its checkpoint says."""

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Judged:
    """A network's metric, compared with that of the best constant answer.

    Attributes:
        metric: the task's.
        chance: of the best answer that does not depend on the input; None where that is unknown.
        near_chance: whether the network is not better than that.
        images: number of examples.
        told: what its checkpoint says of it, name and number; None where that is not far better.
    """

    metric: float
    chance: float | None
    near_chance: bool
    images: int
    told: tuple[str, float] | None = None

    def text(self, metric: Metric, digits: int = 1) -> str:
        """The metric in words, such as ``91.0 % (chance 25.0 %)``."""
        beside = "" if self.chance is None else f" (chance {metric.text(self.chance, digits)})"
        near = ", near chance" if self.near_chance else ""
        return f"{metric.text(self.metric, digits)}{beside}{near}"

    def warning(self, metric: Metric, what: str) -> str | None:
        """The warning for a network near chance, or far from its checkpoint's figure, else None.

        Args:
            metric: what the figures are.
            what: the images, such as ``test images``.
        """
        if self.told is not None and not self.near_chance:
            name, number = self.told
            return (
                f"the original reaches {metric.text(self.metric)} on {self.images} {what}, its "
                f"checkpoint says {name} {number:.4g}; check the normalisation, the input size and "
                "the order of the outputs"
            )
        if not self.near_chance or self.chance is None:
            return None
        return (
            f"the original is not better than chance: {metric.text(self.metric)} on {self.images} "
            f"{what}, where one answer for all reaches {metric.text(self.chance)}; check its "
            "weights, the normalisation and the order of the outputs"
        )


def judged(task: Task, found: Evaluation, split: Split, figures: Mapping[str, float]) -> Judged:
    """Judge a network by an evaluation on a whole split.

    Args:
        task: of the network.
        found: the evaluation.
        split: what it is of.
        figures: numbers that the network's checkpoint holds, by name.
    """
    targets, told = split.targets, _told(task, found, figures)
    chance = None if targets is None or not len(targets) else task.chance(targets)
    if chance is None:
        return Judged(found.metric, None, near_chance=False, images=found.images, told=told)
    near = task.metric.gain(chance.metric, found.metric) <= chance.margin
    return Judged(found.metric, chance.metric, near_chance=near, images=found.images, told=told)


def _told(task: Task, found: Evaluation, figures: Mapping[str, float]) -> tuple[str, float] | None:
    """What a checkpoint says of the metric, where that is far better than what is found."""
    metric, name = task.metric, next((name for name in task.figures if name in figures), None)
    if name is None:
        return None
    number = figures[name] * (metric.scale if 0 <= figures[name] <= 1 else 1)
    far = FAR * metric.scale + 2 * metric.noise(found.metric, found.images)
    return (name, figures[name]) if metric.gain(found.metric, number) > far else None


def glance(task: Task, network: nn.Module, split: Split, figures: Mapping[str, float]) -> Judged:
    """Evaluate a network on some examples of a split, classes in proportion."""
    if len(split) > GLANCE:
        split = split.subset(stratified(strata(split), GLANCE, seed=0)[0])
    return judged(task, evaluate(network, split.batches(_BATCH), task=task), split, figures)


def is_worse(metric: Metric, before: Standing, after: Standing, images: int) -> bool:
    """Whether a training made the metric worse by more than two standard errors.

    Of a metric that has none, as it is not a share, any fall counts that the loss does not
    contradict. The loss alone says little: labels that are smoothed, and a teacher, raise it.
    """
    gain = metric.gain(before.metric, after.metric)
    noise = 2 * max(metric.noise(found.metric, images) for found in (before, after))
    if noise > 0:
        return -gain > noise
    return gain < 0 and not after.loss < before.loss


def warnings_of(
    original: Judged,
    metric: Metric,
    training: TrainResult | None,
    before: LatencySummary,
    after: LatencySummary,
) -> Iterator[str]:
    """Warnings about the figures of a finished run, a sentence each.

    Args:
        original: how the original does on test images.
        metric: what the metrics are.
        training: the finetuning, if it is known.
        before: latency of the original.
        after: latency of the compressed network.
    """
    if (near := original.warning(metric, "test images")) is not None:
        yield near
    if training is not None and (said := undone(training)) is not None:
        yield said
    if (said := within_noise(before, after)) is not None:
        yield said


def undone(training: TrainResult) -> str | None:
    """The warning about a training that made a network worse, else None."""
    before, after, metric = training.before, training.after, training.metric
    if not training.undone or before is None or after is None:
        return None
    return (
        f"finetuning made the network worse on held-out images, {metric.text(before.metric)} to "
        f"{metric.text(after.metric)}; the network before it is kept (lower "
        "finetune.learning_rate, or train for longer)"
    )


def within_noise(before: LatencySummary, after: LatencySummary) -> str | None:
    """The warning about a speed-up that the measurements do not support, else None."""
    speedup = before.median_ms / after.median_ms
    if speedup <= 1:
        return f"the compressed network is not faster than the original: {speedup:.2f}x"
    if after.q3_ms < before.q1_ms:
        return None
    return (
        f"the speed-up of {speedup:.2f}x is within the noise: a quarter of the original's "
        f"measurements took {before.q1_ms:.3f} ms or less, a quarter of the compressed network's "
        f"{after.q3_ms:.3f} ms or more; measure on a quieter machine"
    )


def warn(said: str | None) -> None:
    """Log a warning, if there is one."""
    if said is not None:
        logger.warning("%s", said)
