"""Plans that were finetuned a little before one of them was picked."""

from dataclasses import dataclass

from depthopt.core import numbers
from depthopt.core.counted import counted
from depthopt.core.metric import Metric
from depthopt.core.plan import Plan
from depthopt.errors import DepthoptError


@dataclass(frozen=True, slots=True, repr=False)
class Trial:
    """A plan that is as fast as asked, and how it did when it was finetuned a little.

    Attributes:
        weights_share: what the original's weights were taken to cost when it was solved for, over
            the original's latency.
        plan: with latencies as the table predicts them.
        speedup: over the original, timed in turn.
        loss: the task's, on held-out images after the finetune; None before it.
        metric: the task's; of classification the accuracy in points of 100.
        failure: why the finetune ended early, if it did.
    """

    weights_share: numbers.Finite
    plan: Plan
    speedup: numbers.Positive
    loss: float | None = None
    metric: float | None = None
    failure: str | None = None

    def __repr__(self) -> str:
        outcome = "not tried" if self.loss is None else f"loss {self.loss:.4g}"
        return f"Trial: {self.speedup:.2f}x measured, {self.failure or outcome}; {self.plan!r}"

    @property
    def is_done(self) -> bool:
        """Whether the plan has been tried."""
        return self.loss is not None or self.failure is not None


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
        """The one of least loss, of equal ones the first; an only one needs no loss.

        Raises:
            DepthoptError: all failed.
        """
        if len(self.trials) == 1:
            return self.trials[0]
        done = [trial for trial in self.trials if trial.loss is not None]
        if not done:
            raise DepthoptError(f"all trials failed; the first: {self.trials[0].failure}")
        return min(done, key=lambda trial: trial.loss or 0.0)
