"""Where channels may lie innermost: oneDNN writes past its memory in one kind of convolution.

If channels lie innermost, the gradient of the weights of a strided 1x1 convolution is worked out in
memory that is too small, where there are fewer channels than a vector holds numbers: it comes out
wrong, or the process ends. https://github.com/uxlfoundation/oneDNN/issues/6035
"""

from torch import nn

_WIDEST = 16
"""Numbers of float32 in a vector of AVX-512."""


def convolution_at_risk(network: nn.Module) -> str | None:
    """The name of a convolution that must not be trained on a CPU with its channels innermost.

    None where there is none, and all may.
    """
    return next((name for name, m in network.named_modules() if _is_at_risk(m)), None)


def _is_at_risk(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < _WIDEST
        and module.groups < module.in_channels
    )
