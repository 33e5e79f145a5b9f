"""The loss: the label's cross-entropy, the teacher's answer and tensors, or all of them."""

from collections.abc import Sequence

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
        labels: ``(n,)`` int64, or ``(n, classes)`` probabilities, smoothed already.
        teacher_logits: ``(n, classes)``, or None.
        config: of the training.
    """
    smoothing = 0.0 if labels.is_floating_point() else config.label_smoothing
    hard = F.cross_entropy(logits, labels, label_smoothing=smoothing)
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


def matching_loss(own: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean over pairs of tensors of ``|own - wanted|**2 / |wanted|**2``."""
    errors = [
        (mine.float() - theirs.float()).square().sum()
        / theirs.float().square().sum().clamp_min(1e-12)
        for mine, theirs in zip(own, wanted, strict=True)
    ]
    return sum(errors[1:], errors[0]) / len(errors)
