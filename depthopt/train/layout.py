"""Choose the memory layout: with channels innermost, oneDNN fails in one kind of convolution.

If channels lie innermost, the gradient of the weights of a strided 1x1 convolution is worked out in
memory that is too small, where there are fewer channels than a vector holds numbers: it comes out
wrong, or the process ends. https://github.com/uxlfoundation/oneDNN/issues/6035
"""

import logging

import torch
from torch import nn

logger = logging.getLogger(__name__)

_WIDEST = 16
"""Numbers of float32 in a vector of AVX-512."""


def trained_layout(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels innermost if a network's gradients are right with it, else outermost.

    Args:
        network: to be trained.
        device: that it is trained on.
    """
    at_risk = (name for name, module in network.named_modules() if _is_at_risk(module))
    if device.type == "cpu" and (name := next(at_risk, None)) is not None:
        logger.info("channels lie outermost: else %s would be trained wrongly", name)
        return torch.contiguous_format
    return torch.channels_last


def _is_at_risk(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < _WIDEST
        and (module.groups == 1 or module.groups < module.in_channels)
    )
