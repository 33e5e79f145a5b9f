"""What every candidate costs in accuracy, keyed by candidate."""

from dataclasses import dataclass, field

from depthopt.core.candidate import Candidate


@dataclass(frozen=True, slots=True)
class Importance:
    """What one candidate alone costs on held-out calibration images.

    Attributes:
        cost: the number that the solver adds up and minimises; of ``regression`` the
            divergence and, with labels, three times what the loss rises by, in nats.
        divergence: mean KL divergence of the outputs from the original's, in nats;
            None where the estimator does not measure it.
        loss_increase: change of the mean cross-entropy, in nats; None without labels.
        accuracy_change: change of top-1 accuracy, in points of 100; None without labels.
    """

    cost: float
    divergence: float | None = None
    loss_increase: float | None = None
    accuracy_change: float | None = None


@dataclass(frozen=True, slots=True)
class ImportanceTable:
    """Cost in accuracy of every candidate, by candidate.

    Attributes:
        model: the chain's model name.
        estimator: ``regression``, ``magnitude``, ``finetune``.
        images: held-out images that the scores were measured on; 0 if none.
        entries: importances by candidate; ``keep`` costs nothing and has none.
    """

    model: str
    estimator: str
    images: int = 0
    entries: dict[Candidate, Importance] = field(default_factory=dict)
