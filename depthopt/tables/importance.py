"""What every candidate costs in accuracy, keyed by candidate."""

from dataclasses import dataclass, field

from depthopt.core import numbers
from depthopt.core.candidate import Candidate
from depthopt.core.counted import counted


@dataclass(frozen=True, slots=True, repr=False)
class Importance:
    """What one candidate alone costs on held-out calibration images.

    Attributes:
        cost: the number that the solver adds up and minimises; of ``regression`` the
            divergence and, with targets, three times what the loss rises by.
        divergence: mean divergence of the outputs from the original's, as the task has it; of
            classification KL, in nats; None where the estimator does not measure it.
        loss_increase: change of the task's mean loss, of classification the cross-entropy in
            nats; None without targets.
        metric_change: by how much the task's metric gets better, negative if it gets worse: of
            classification the change of the accuracy, in points of 100; None without targets.
    """

    cost: numbers.Finite
    divergence: numbers.Finite | None = None
    loss_increase: numbers.Finite | None = None
    metric_change: numbers.Finite | None = None

    def __repr__(self) -> str:
        more = {
            "divergence": self.divergence,
            "loss increase": self.loss_increase,
            "metric change": self.metric_change,
        }
        told = [f"{name} {value:.4g}" for name, value in more.items() if value is not None]
        return ", ".join([f"Importance: cost {self.cost:.4g}", *told])


@dataclass(frozen=True, slots=True, repr=False)
class ImportanceTable:
    """Cost in accuracy of every candidate, by candidate.

    Attributes:
        model: the chain's model name.
        estimator: ``regression``, ``magnitude``, ``finetune``.
        images: held-out images that the scores were measured on; 0 if none.
        entries: importances by candidate, or by its key; ``keep`` costs nothing and has none.

    Raises:
        ValueError: a text that is not the key of a candidate.
    """

    model: str
    estimator: str
    images: numbers.CountOrZero = 0
    entries: dict[Candidate, Importance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make candidates of keys."""
        entries = {
            Candidate.parse(key) if isinstance(key, str) else key: importance
            for key, importance in self.entries.items()
        }
        object.__setattr__(self, "entries", entries)

    def __repr__(self) -> str:
        on = f" on {counted(self.images, 'image')}" if self.images else ""
        entries = counted(len(self.entries), "candidate")
        return f"ImportanceTable of {self.model}: {entries} by {self.estimator}{on}"
