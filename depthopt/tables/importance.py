"""The importance table: what each candidate costs in accuracy."""

from dataclasses import dataclass, field
from typing import Literal

from depthopt.core import numbers
from depthopt.core.candidate import Candidate
from depthopt.core.clipped import clipped
from depthopt.core.counted import counted

Unit = Literal["", "points", "fraction"]
"""Of changes of a metric: points of 100, or shares of one. Tables of earlier versions do not say
it: theirs are points."""


@dataclass(frozen=True, slots=True, repr=False)
class Importance:
    """What one candidate alone costs on held-out images.

    Attributes:
        cost: the number that the solver adds up and minimises; of ``regression`` the
            divergence and, with targets, three times what the loss rises by.
        divergence: mean divergence of the outputs from the original's, as the task has it; of
            classification KL, in nats; None where the estimator does not measure it.
        loss_increase: change of the task's mean loss, of classification the cross-entropy in
            nats; None without targets.
        metric_change: by how much the task's metric gets better, negative if it gets worse: of
            classification the change of the accuracy, in the table's unit; None without targets.
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
        entries: importances by candidate, or by its key. A ``keep`` may have one: what the
            estimator found where its layer was initialised again. It costs nothing without.
        protocol: how the scores came about, in words that say the same wherever it was the same:
            of ``finetune`` the short training and what it was scored on, with the word
            ``reduced`` where that is less than the papers'. Empty where nothing said it.
        unit: of the entries' ``metric_change``.
        form: in which a ``merge`` was trained or regressed: ``fused`` or ``expanded``; empty where
            it makes no difference, or nothing said it.
        beaten: candidates that were not scored, and are in no plan: others give the same tensor,
            are as fast, and come as near to the original's on held-out images.

    Raises:
        ValueError: a text that is not the key of a candidate.
    """

    model: str
    estimator: str
    images: numbers.CountOrZero = 0
    entries: dict[Candidate, Importance] = field(default_factory=dict)
    protocol: str = ""
    unit: Unit = ""
    form: Literal["", "fused", "expanded"] = ""
    beaten: tuple[Candidate, ...] = ()

    def __post_init__(self) -> None:
        """Convert keys to candidates."""
        entries = {
            Candidate.parse(key) if isinstance(key, str) else key: importance
            for key, importance in self.entries.items()
        }
        object.__setattr__(self, "entries", entries)

    def __repr__(self) -> str:
        on = f" on {counted(self.images, 'image')}" if self.images else ""
        entries = counted(len(self.entries), "candidate")
        how = f", {self.protocol}" if self.protocol else ""
        return f"ImportanceTable of {self.model}: {entries} by {self.estimator}{on}{how}"

    def change(self, candidate: Candidate) -> float | None:
        """The improvement of the metric with one candidate, as a fraction: 0.01 is a point.

        Returns:
            0 of a ``keep`` without an entry; None of an entry without a change.

        Raises:
            KeyError: no entry.
        """
        if not candidate.replaces and candidate not in self.entries:
            return 0.0
        change = self.entries[candidate].metric_change
        return change if change is None or self.unit == "fraction" else change / 100

    def unlike(self, other: "ImportanceTable") -> str | None:
        """How this table differs from another, so that their entries do not mix.

        What an older file does not say of its protocol, unit and form is like any.

        Returns:
            None if there is nothing of the kind.
        """
        own = self.model, self.estimator, self.images
        wanted = other.model, other.estimator, other.images
        if own != wanted:
            return "of {} by {} on {} images, expected {} by {} on {}".format(*own, *wanted)
        for name in ("protocol", "unit", "form"):
            found, expected = getattr(self, name), getattr(other, name)
            if found not in {"", expected}:
                other_one = clipped(expected) if expected else "one without a word for it"
                return f"of {name} {clipped(found)}, expected {other_one}"
        return None
