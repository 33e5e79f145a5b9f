"""The loss: the label's cross-entropy, the teacher's answer, or both."""

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from depthopt.train.config import TrainConfig


def training_loss(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, config: TrainConfig
) -> Tensor:
    """``(1 - w) * cross_entropy + w * T**2 * KL(teacher / T || student / T)``.

    ``w`` is ``config.distillation`` (0 without a teacher), ``T`` the temperature. The
    square keeps the gradient's size independent of T (Hinton et al., arXiv 1503.02531,
    section 2).

    Args:
        logits: ``(n, classes)``.
        labels: ``(n,)`` int64.
        teacher_logits: ``(n, classes)``, or None.
        config: of the training.
    """
    hard = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
    if teacher_logits is None:
        return hard
    soft = F.kl_div(
        F.log_softmax(logits / config.temperature, dim=1),
        F.log_softmax(teacher_logits / config.temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    weight = config.distillation
    return (1 - weight) * hard + weight * config.temperature**2 * soft
