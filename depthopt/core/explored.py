"""The result of exploring a network: which plans were tried, how fast and how accurate."""

from dataclasses import dataclass

from depthopt.core import numbers
from depthopt.core.metric import Metric
from depthopt.core.plan import Plan


@dataclass(frozen=True, slots=True)
class Found:
    """A network's metric on held-out images.

    Attributes:
        metric: the task's; of classification the accuracy in points of 100.
        error: its standard error, of so many images.
        images: that it was measured on.
    """

    metric: numbers.Finite
    error: numbers.NonNegative
    images: numbers.Count


@dataclass(frozen=True, slots=True)
class Finetuned:
    """The metric of a plan's network after a finetune.

    Attributes:
        steps: of the finetune, whose learning rate fell to zero with the last.
        found: what the network did then.
    """

    steps: numbers.Count
    found: Found


@dataclass(frozen=True, slots=True)
class Attempt:
    """A plan that was carried out to see how accurate it gets.

    Attributes:
        plan: with latencies as the table predicts them.
        speedup: over the original, timed in turn.
        untrained: with no training; None before that.
        finetuned: the finetunes, each from the untrained network.
        failure: why the last finetune ended early, if it did.
    """

    plan: Plan
    speedup: numbers.Positive
    untrained: Found | None = None
    finetuned: tuple[Finetuned, ...] = ()
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A speed-up that was looked for.

    Attributes:
        speedup: over the original.
        attempt: index of the least costly plan that is measured as fast; None if none is.
    """

    speedup: numbers.Positive
    attempt: int | None


@dataclass(frozen=True, slots=True)
class Explored:
    """An explored network, finished or not.

    Attributes:
        model: name of the network.
        data: data set.
        metric: what metrics are.
        original: how the original does.
        test_images: examples that a whole run tests its network on.
        steps: of the whole finetune.
        attempts: plans carried out, least costly first.
        asked: the speed-ups that were looked for, rising.
        fastest: the largest speed-up that was predicted or measured.
        recommended: the speed-up to ask for; None before all is done, or where none is worth it.
        reason: why.
        reduction: how far the work was cut down to fit into the minutes; 0 is not at all.
        teacher: digest of the original's weights.
        seconds: that it took, the original's training left out.
        objective: what plans' costs are of.
    """

    model: str
    data: str
    metric: Metric
    original: Found
    test_images: numbers.Count
    steps: numbers.Count
    attempts: tuple[Attempt, ...] = ()
    asked: tuple[Asked, ...] = ()
    fastest: numbers.Positive | None = None
    recommended: numbers.Positive | None = None
    reason: str = ""
    reduction: numbers.CountOrZero = 0
    teacher: str = ""
    seconds: numbers.NonNegative = 0.0
    objective: str = "cost"

    def __post_init__(self) -> None:
        """Check that what was asked for refers to attempts.

        Raises:
            ValueError: it does not; a file was changed.
        """
        last = len(self.attempts)
        for asked in self.asked:
            if asked.attempt is not None and not 0 <= asked.attempt < last:
                raise ValueError(f"attempt {asked.attempt} is not one of the {last}")
