"""Guess a checkpoint's network: the known one with the nearest names and shapes."""

import re
from collections.abc import Iterator, Mapping

import timm
import torch
from torch import Tensor

from depthopt.models.timm import create_timm_model
from depthopt.models.torchvision import create_torchvision_model

_COMMON = (
    "resnet18", "resnet34", "resnet50", "resnet101", "mobilenetv2_100", "mobilenetv3_large_100",
    "mobilenetv3_small_100", "efficientnet_b0", "efficientnet_lite0", "densenet121", "vgg16_bn",
    "convnext_tiny", "regnetx_002", "regnety_002",
)  # fmt: skip
"""Of timm."""

_THEIRS = tuple(
    f"torchvision:{name}"
    for name in ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "efficientnet_b0")
)
"""Of torchvision, where timm's of that kind have other names inside."""

_BEGINNINGS = ("conv1", "conv_stem", "features", "stem")
"""What the first tensor of each of these belongs to: others need not be made to see it."""

_ALIKE = 0.9
"""Least share of names and shapes that two networks must have in common."""

_EQUAL = 0.99
"""The share at which the search stops."""

_MOST = 24
"""Largest number of networks that are compared."""


def nearest(tensors: Mapping[str, Tensor], name: str = "") -> str | None:
    """The known network with most of these names and shapes. None if none has nearly all.

    Args:
        tensors: of a checkpoint, by name.
        name: of the network that was expected; others of its family are compared first.
    """
    first = next(iter(tensors), "").partition(".")[0]
    if first not in _BEGINNINGS:
        return None
    shapes = {(key, _body(tensor)) for key, tensor in tensors.items()}
    best, most = None, _ALIKE
    for candidate in list(_candidates(name))[:_MOST]:
        try:
            with torch.device("meta"):
                state = _made(candidate).state_dict()
        except Exception:  # noqa: S112 - one that cannot be made is skipped
            continue
        known = {(key, _body(tensor)) for key, tensor in state.items()}
        share = len(shapes & known) / max(len(shapes | known), 1)
        if share > most:
            best, most = candidate, share
        if most > _EQUAL:
            break
    return best


def _body(tensor: Tensor) -> tuple[int, ...]:
    """A shape without its first side: how many outputs a layer has, a head's above all."""
    return tuple(tensor.shape[1:])


def _made(name: str) -> torch.nn.Module:
    own = name.removeprefix("torchvision:")
    return create_timm_model(own, {}) if own == name else create_torchvision_model(own, {})


def _candidates(name: str) -> Iterator[str]:
    """Names of networks, the expected one's family first, each once."""
    family = re.split(r"[\d_]", name.removeprefix("torchvision:"), maxsplit=1)[0]
    seen = dict.fromkeys(_COMMON)
    if family and ":" not in family:
        near = [each for each in timm.list_models(f"{family}*") if len(each) < len(family) + 6]
        seen = dict.fromkeys([*near[: _MOST // 4], *_COMMON])
    yield from (_THEIRS if name.startswith("torchvision:") else ())
    yield from seen
    yield from (() if name.startswith("torchvision:") else _THEIRS)
