"""Small random networks of every kind of layer that merging claims to handle."""

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.networks import randomised

CHANNELS = (2, 4, 6)


class Unit(nn.Module):
    """Layers one after the other and, around them, a skip if there is one."""

    def __init__(
        self, layers: list[nn.Module], skip: nn.Module | None, act: nn.Module, *, behind: bool
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.skip = skip
        self.act = act
        self.behind = behind

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            y = layer(y)
        if self.skip is None:
            return y
        return self.act(y) + self.skip(x) if self.behind else self.act(y + self.skip(x))


class RandomNetwork(nn.Module):
    """Units one after the other, and the mean over all pixels."""

    def __init__(self, units: list[nn.Module], seed: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(units)
        randomised(self, seed)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.units:
            x = unit(x)
        return x.mean((2, 3))


def _activation(draw: st.DrawFn, *, linear: bool) -> nn.Module:
    kinds = [nn.Identity] if linear else [nn.Identity, nn.ReLU, nn.ReLU6, nn.SiLU]
    return draw(st.sampled_from(kinds))()


def _norm(draw: st.DrawFn, channels: int) -> list[nn.Module]:
    eps = draw(st.sampled_from([1e-5, 1e-2]))
    return [nn.BatchNorm2d(channels, eps=eps)] if draw(st.booleans()) else []


def _conv(draw: st.DrawFn, channels: int, out: int, *, same_size: bool) -> nn.Module:
    """Any kernel, stride, padding, dilation and groups; with ``same_size``, stride 1."""
    padding: str | tuple[int, int] = "same"
    stride = (1, 1)
    if not same_size:
        padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
        stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    common = [g for g in (1, 2, channels) if channels % g == 0 and out % g == 0]
    return nn.Conv2d(
        channels,
        out,
        draw(st.tuples(st.integers(1, 3), st.sampled_from([1, 3]))),
        stride,
        padding,
        draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        draw(st.sampled_from(common)),
        bias=draw(st.booleans()),
    )


def _layer(
    draw: st.DrawFn, channels: int, *, linear: bool, same_size: bool
) -> tuple[nn.Module, int]:
    """A convolution with norm and activation, if any, and its output channels."""
    out = draw(st.sampled_from(CHANNELS))
    conv = _conv(draw, channels, out, same_size=same_size)
    return nn.Sequential(conv, *_norm(draw, out), _activation(draw, linear=linear)), out


def _projection(draw: st.DrawFn, channels: int, out: int, stride: int) -> nn.Module:
    pooled = stride == 2 and draw(st.booleans())
    pool = [nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)] if pooled else []
    conv = nn.Conv2d(channels, out, 1, 1 if pooled else stride, bias=draw(st.booleans()))
    return nn.Sequential(*pool, conv, *_norm(draw, out))


def _residual(draw: st.DrawFn, channels: int, *, linear: bool, depth: int) -> tuple[nn.Module, int]:
    """A skip of any kind around one to three layers, other residuals among them."""
    kind = draw(st.sampled_from(["identity", "norm", "projection", "strided"]))
    out = channels if kind in {"identity", "norm"} else draw(st.sampled_from(CHANNELS))
    layers: list[nn.Module] = []
    if draw(st.booleans()):
        layers += [nn.BatchNorm2d(channels), _activation(draw, linear=linear)]
    inner = channels
    for _ in range(draw(st.integers(0, 2))):
        make = _residual if depth == 0 and draw(st.booleans()) else _same_size
        layer, inner = make(draw, inner, linear=linear, depth=depth + 1)
        layers.append(layer)
    # The halving comes last: a nested skip may halve as well, and sizes have to agree.
    strides = sum(_halvings(layer) for layer in layers)
    layers += [_conv(draw, inner, out, same_size=True), *_norm(draw, out)]
    if kind == "strided" and strides == 0:
        layers.append(nn.Conv2d(out, out, 3, 2, 1, groups=out, bias=draw(st.booleans())))
        strides = 1
    skip: nn.Module = nn.Identity()
    if strides or out != channels or kind == "projection":
        skip = _projection(draw, channels, out, 2**strides)
    elif kind == "norm":
        skip = nn.BatchNorm2d(channels)
    act = _activation(draw, linear=linear)
    return Unit(layers, skip, act, behind=draw(st.booleans())), out


def _same_size(
    draw: st.DrawFn, channels: int, *, linear: bool, depth: int
) -> tuple[nn.Module, int]:
    del depth
    return _layer(draw, channels, linear=linear, same_size=True)


def _halvings(layer: nn.Module) -> int:
    """How often a residual halves its input: as often as its projection does."""
    convs = [m for m in layer.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    return min(len(convs), 1)


@st.composite
def random_networks(draw: st.DrawFn, *, linear: bool = False) -> RandomNetwork:
    """Up to four units on two channels; ``linear`` ones have no activation."""
    torch.manual_seed(draw(st.integers(0, 999)))
    units, channels = [], 2
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            unit, channels = _layer(draw, channels, linear=linear, same_size=len(units) > 2)
        else:
            unit, channels = _residual(draw, channels, linear=linear, depth=0)
        units.append(unit)
    return RandomNetwork(units, draw(st.integers(0, 999)))
