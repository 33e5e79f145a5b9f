"""Recognise and make convolutions, norms and poolings in a traced network."""

from itertools import chain

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from timm.layers import Conv2dSame
from timm.layers.padding import get_same_padding
from torch import Tensor, fx, nn

from depthopt.core.operators import AveragePooling, Convolution
from depthopt.core.shapes import Pair, Sides
from depthopt.errors import ModelError
from depthopt.graph.plain import why_not_plain


def operator_of(module: nn.Module) -> Convolution:
    """The operator of a convolution or a norm that ``why_opaque`` does not refuse.

    That of a convolution is as with its norm folded in; that of a norm is the depthwise
    1x1 convolution that computes the same.
    """
    if isinstance(module, nn.BatchNorm2d):
        channels = module.num_features
        return Convolution(channels, channels, (1, 1), groups=channels)
    assert isinstance(module, nn.Conv2d)  # noqa: S101 - narrows nn.Module: why_opaque refuses others
    kh, kw = module.kernel_size[0], module.kernel_size[1]
    dilation = _pair(module.dilation)
    return Convolution(
        module.in_channels,
        module.out_channels,
        (kh, kw),
        _pair(module.stride),
        _sides(module, (kh, kw), dilation),
        dilation,
        module.groups,
    )


def pooling_of(
    pool: nn.AvgPool2d, channels: int, input_size: Pair, output_size: Pair
) -> AveragePooling:
    """The operator of an average pooling at this input size.

    Raises:
        ValueError: windows at the border are averaged over fewer pixels than the others.
    """
    kernel, stride, padding = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
    top, left = padding
    pooling = AveragePooling(channels, kernel, stride, (left, left, top, top))
    uneven = padding != (0, 0) and not pool.count_include_pad
    if (
        uneven
        or pooling.output_size(input_size) != output_size
        or pool.divisor_override is not None
    ):
        raise ValueError("averages over windows of unequal size")
    return pooling


def _pair(value: int | tuple[int, ...]) -> Pair:
    if isinstance(value, int):
        return value, value
    height, width = value
    return height, width


def _sides(module: nn.Conv2d, kernel_size: Pair, dilation: Pair) -> Sides:
    if module.padding == "valid":
        return 0, 0, 0, 0
    if isinstance(module.padding, str):
        height, width = ((k - 1) * d for k, d in zip(kernel_size, dilation, strict=True))
        return width // 2, width - width // 2, height // 2, height - height // 2
    sides = getattr(module, "sides", None)
    if sides is not None:
        left, right, top, bottom = sides
        return left, right, top, bottom
    padding = _pair(module.padding)
    return padding[1], padding[1], padding[0], padding[0]


class PaddedConv2d(nn.Conv2d):
    """A convolution that pads each side by its own amount. A negative amount crops.

    Attributes:
        sides: (left, right, top, bottom), the order of ``F.pad``.
    """

    def __init__(self, spec: Convolution) -> None:
        super().__init__(
            spec.in_channels,
            spec.out_channels,
            spec.kernel_size,
            spec.stride,
            0,
            spec.dilation,
            spec.groups,
        )
        self.sides = spec.padding

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """Pad (N, C, H, W) with zeros and convolve."""
        return super().forward(F.pad(input, self.sides))


def make_conv(spec: Convolution) -> nn.Conv2d:
    """A convolution with a bias that follows ``spec``. A plain one if padding is symmetric."""
    left, right, top, bottom = spec.padding
    if left != right or top != bottom or min(spec.padding) < 0:
        return PaddedConv2d(spec)
    return nn.Conv2d(
        spec.in_channels,
        spec.out_channels,
        spec.kernel_size,
        spec.stride,
        (top, left),
        spec.dilation,
        spec.groups,
    )


def conv_with(spec: Convolution, weight: Tensor, bias: Tensor, like: nn.Module) -> nn.Conv2d:
    """A convolution with these weights, in the precision, place and mode of ``like``.

    Raises:
        ModelError: its precision does not hold them.
    """
    parameter = next(chain(like.parameters(), like.buffers()))
    conv = make_conv(spec)
    conv.weight = nn.Parameter(fitting(weight, parameter))
    conv.bias = nn.Parameter(fitting(bias, parameter))
    return conv.train(like.training)


def fitting(values: Tensor, like: Tensor) -> Tensor:
    """Values in the precision and place of a tensor.

    Raises:
        ModelError: its precision does not hold them.
    """
    fitting = values.to(like)
    if not bool(fitting.isfinite().all()) and bool(values.isfinite().all()):
        raise ModelError(
            f"folding makes weights of up to {float(values.abs().max()):.3g}; {like.dtype} ends "
            f"at {torch.finfo(like.dtype).max:.3g}; use the network in float32"
        )
    return fitting


def resolved_same_padding(conv: Conv2dSame, input_size: Pair) -> nn.Conv2d:
    """Replace TensorFlow's "same" padding by fixed amounts for one input size."""
    kernel, stride, dilation = _pair(conv.kernel_size), _pair(conv.stride), _pair(conv.dilation)
    height, width = (
        get_same_padding(*sizes) for sizes in zip(input_size, kernel, stride, dilation, strict=True)
    )
    sides = (width // 2, width - width // 2, height // 2, height - height // 2)
    spec = Convolution(
        conv.in_channels, conv.out_channels, kernel, stride, sides, dilation, conv.groups
    )
    resolved = make_conv(spec)
    resolved.weight, resolved.bias = conv.weight, conv.bias
    return resolved.train(conv.training)


def why_opaque(module: nn.Module) -> str | None:
    """Why a convolution or norm cannot be merged or replaced. None if it can."""
    if (reason := why_not_plain(module)) is not None:
        return reason
    if isinstance(module, nn.BatchNorm2d):
        plain = type(module) is nn.BatchNorm2d and module.running_mean is not None
        return None if plain else "normalises by statistics of its input"
    if not isinstance(module, nn.Conv2d) or type(module) not in {nn.Conv2d, PaddedConv2d}:
        return f"{type(module).__name__} is not a plain convolution"
    if module.padding_mode != "zeros":
        return f"pads by {module.padding_mode}"
    return None


def sole_user(node: fx.Node) -> fx.Node | None:
    """The only node that reads ``node``, or None if there are several."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def is_foldable_norm(module: nn.Module) -> bool:
    """Whether a norm is affine in evaluation mode, so that a convolution can absorb it."""
    return isinstance(module, nn.BatchNorm2d) and why_opaque(module) is None
