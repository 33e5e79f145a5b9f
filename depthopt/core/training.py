"""The record of a training, epoch by epoch."""

from dataclasses import dataclass

from depthopt.core import numbers
from depthopt.core.counted import counted
from depthopt.core.metric import Metric


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """The record of one epoch.

    Attributes:
        loss: mean training loss.
        learning_rate: of the last step.
        seconds: spent on it, over all runs that took part.
        images_per_s: training speed.
        metric: the task's, on the calibration split, if it was asked for.
        waited_s: of these seconds, spent waiting for images.
    """

    loss: float
    learning_rate: float
    seconds: numbers.NonNegative
    images_per_s: numbers.NonNegative
    metric: float | None = None
    waited_s: numbers.NonNegative = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A network's metric on held-out images.

    Attributes:
        metric: the task's.
        loss: the task's, a mean.
    """

    metric: float
    loss: float


@dataclass(frozen=True, slots=True, repr=False)
class TrainResult:
    """The record of a training.

    Attributes:
        history: one record per epoch.
        steps: in all.
        metric: what its metrics are.
        before: how the network did before it; None if that was not asked.
        after: how it did after it, likewise.
        undone: whether it was worse after it, so that the network before it was kept.
    """

    history: tuple[EpochRecord, ...]
    steps: numbers.CountOrZero
    metric: Metric
    before: Standing | None = None
    after: Standing | None = None
    undone: bool = False

    def __repr__(self) -> str:
        epochs = counted(len(self.history), "epoch")
        measured = [epoch.metric for epoch in self.history if epoch.metric is not None]
        last = f", {self.metric.name} {self.metric.text(measured[-1])}" if measured else ""
        return f"TrainResult: {epochs}, {counted(self.steps, 'step')}{last}"
