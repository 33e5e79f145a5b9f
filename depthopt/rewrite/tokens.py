"""Tokens as maps, so that what is regressed on maps is regressed on tokens too."""

from torch import Tensor


def as_map(x: Tensor) -> Tensor:
    """Tokens (N, T, C) as a map (N, C, T, 1), whose 1x1 convolutions are their linear layers.

    A map stays as it is.
    """
    return x.transpose(1, 2).unsqueeze(-1) if x.dim() == 3 else x
