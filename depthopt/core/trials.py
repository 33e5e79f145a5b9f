"""Trials: plans that are carried out, and perhaps briefly finetuned, before one is picked."""

import math
import statistics
from dataclasses import dataclass

from depthopt.core import numbers
from depthopt.core.counted import counted
from depthopt.core.metric import Metric
from depthopt.core.plan import Plan
from depthopt.errors import DepthoptError

_WITHIN = 1.96
"""Standard errors on either side of a mean, for an interval of 95 %."""


@dataclass(frozen=True, slots=True, repr=False)
class Trial:
    """A plan that is as fast as asked, and its result when it was carried out.

    Attributes:
        plan: with latencies as the table predicts them.
        speedup: over the original, timed in turn.
        loss: the task's, on held-out images, after a short finetune if the trials have one; None
            before it is known.
        metric: the task's; of classification the accuracy in points of 100.
        failure: why there is none, if something went wrong.
        losses: of every held-out image, in order; none where they were not kept.
    """

    plan: Plan
    speedup: numbers.Positive
    loss: float | None = None
    metric: float | None = None
    failure: str | None = None
    losses: tuple[float, ...] = ()

    def __repr__(self) -> str:
        outcome = "not tried" if self.loss is None else f"loss {self.loss:.4g}"
        return f"Trial: {self.speedup:.2f}x measured, {self.failure or outcome}; {self.plan!r}"

    @property
    def is_done(self) -> bool:
        """Whether the plan has been tried."""
        return self.loss is not None or self.failure is not None

    def behind(self, other: "Trial") -> tuple[float, float] | None:
        """The 95 % interval of its loss minus another's, paired by images.

        None where either's losses are not known, image by image.
        """
        if len(self.losses) != len(other.losses) or len(self.losses) < 2:
            return None
        more = [own - theirs for own, theirs in zip(self.losses, other.losses, strict=True)]
        mean = statistics.fmean(more)
        error = _WITHIN * statistics.stdev(more) / math.sqrt(len(more))
        return mean - error, mean + error


@dataclass(frozen=True, slots=True, repr=False)
class Trials:
    """The trials of a run.

    Attributes:
        trials: the plan of least cost first.
        metric: what their metrics are.
    """

    trials: tuple[Trial, ...]
    metric: Metric

    def __repr__(self) -> str:
        done = sum(trial.is_done for trial in self.trials)
        return f"Trials: {counted(len(self.trials), 'plan')}, {done} tried"

    @property
    def best(self) -> Trial:
        """The trial of least loss, the first of equal ones. A single trial needs no loss.

        Raises:
            DepthoptError: all failed.
        """
        if len(self.trials) == 1:
            return self.trials[0]
        done = [trial for trial in self.trials if trial.loss is not None]
        if not done:
            raise DepthoptError(f"all trials failed; the first: {self.trials[0].failure}")
        return min(done, key=lambda trial: trial.loss or 0.0)

    @property
    def undecided(self) -> tuple[Trial, ...]:
        """Trials that may be as good as the best: the held-out images do not tell them apart."""
        best = self.best
        behind = {i: trial.behind(best) for i, trial in enumerate(self.trials) if trial != best}
        return tuple(self.trials[i] for i, within in behind.items() if within and within[0] <= 0)
