"""The loss against a teacher's tensors inside the network."""

from collections.abc import Sequence

from torch import Tensor


def matching_loss(own: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean over pairs of tensors of ``|own - wanted|**2 / |wanted|**2``."""
    errors = [
        (mine.float() - theirs.float()).square().sum()
        / theirs.float().square().sum().clamp_min(1e-12)
        for mine, theirs in zip(own, wanted, strict=True)
    ]
    return sum(errors[1:], errors[0]) / len(errors)
