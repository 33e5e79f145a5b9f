"""What convolutions, norms and their surroundings in a traced network are."""

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, fx, nn

from depthopt.core.spec import ConvSpec, Pair, Sides


def conv_spec(module: nn.Conv2d) -> ConvSpec:
    """The spec of a plain convolution (see ``why_opaque``), as with its norm folded in."""
    kh, kw = module.kernel_size[0], module.kernel_size[1]
    stride, dilation = _pair(module.stride), _pair(module.dilation)
    return ConvSpec(
        module.in_channels,
        module.out_channels,
        (kh, kw),
        stride,
        _sides(module, (kh, kw), dilation),
        dilation,
        module.groups,
    )


def _pair(value: tuple[int, ...]) -> Pair:
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
    """A convolution that pads each side by its own amount; a negative side crops.

    Attributes:
        sides: (left, right, top, bottom), the order of ``F.pad``.
    """

    def __init__(self, spec: ConvSpec) -> None:
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


def make_conv(spec: ConvSpec) -> nn.Conv2d:
    """A convolution with a bias that follows ``spec``; plain where padding is symmetric."""
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


def conv_with(spec: ConvSpec, weight: Tensor, bias: Tensor, like: nn.Module) -> nn.Conv2d:
    """A convolution with these weights, in the precision, place and mode of ``like``."""
    parameter = next(like.parameters())
    conv = make_conv(spec)
    conv.weight = nn.Parameter(weight.to(parameter))
    conv.bias = nn.Parameter(bias.to(parameter))
    return conv.train(like.training)


def why_opaque(module: nn.Module) -> str | None:
    """Why a convolution cannot be merged or replaced, or None if it can."""
    if type(module) not in {nn.Conv2d, PaddedConv2d}:
        return f"{type(module).__name__} is no plain convolution"
    if module.padding_mode != "zeros":
        return f"pads by {module.padding_mode}"
    return None


def sole_user(node: fx.Node) -> fx.Node | None:
    """The only node that reads ``node``, or None if there are several."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def is_foldable_norm(module: nn.Module) -> bool:
    """Whether a norm is affine in evaluation mode, so that a convolution can absorb it."""
    return type(module) is nn.BatchNorm2d and module.running_mean is not None
