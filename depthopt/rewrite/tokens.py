"""Tokens, and pixels whose channels come last, as maps, on which regressions work."""

from torch import Tensor


def as_map(x: Tensor) -> Tensor:
    """Tokens (N, T, C) as a map (N, C, T, 1), whose 1x1 convolutions are their linear layers.

    A map stays as it is.
    """
    return x.transpose(1, 2).unsqueeze(-1) if x.dim() == 3 else x


def channels_first(x: Tensor) -> Tensor:
    """What a linear layer reads, (N, T, C) or (N, H, W, C), as a map (N, C, ...)."""
    return as_map(x) if x.dim() == 3 else x.permute(0, 3, 1, 2)
