import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from depthopt.core.operators import Convolution
from depthopt.graph.convolutions import make_conv
from depthopt.rewrite.affine import Affine, folded
from tests.networks import randomised

CHANNELS = 12


@st.composite
def convolutions(draw: st.DrawFn, stride: tuple[int, int] | None = None) -> nn.Conv2d:
    """Any mix of kernel, stride, padding per side, dilation, groups and bias."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    spec = Convolution(
        CHANNELS,
        CHANNELS,
        draw(pair),
        stride or draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        tuple(draw(st.integers(0, 2)) for _ in range(4)),
        draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        draw(st.sampled_from([1, 2, 4, 6, CHANNELS])),
    )
    torch.manual_seed(draw(st.integers(0, 99)))
    conv = make_conv(spec).double()
    if draw(st.booleans()):
        conv.bias = None
    return conv


def unpadded(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def applied(operator: Affine, x: Tensor) -> Tensor:
    """The operator on an unpadded input, as if its offset were zero."""
    window = operator.window
    return F.conv2d(x, operator.weight, operator.bias, window.stride, groups=window.groups)


@settings(max_examples=60, deadline=None)
@given(convolutions(), convolutions(), convolutions())
def test_composition_equals_running_one_after_the_other(
    a: nn.Conv2d, b: nn.Conv2d, c: nn.Conv2d
) -> None:
    x = torch.randn(2, CHANNELS, 40, 41, dtype=torch.float64)
    wanted = unpadded(c, unpadded(b, unpadded(a, x)))
    got = applied(Affine.of(a).then(Affine.of(b)).then(Affine.of(c)), x)
    assert got.shape == wanted.shape
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(convolutions(stride=(2, 1)), convolutions(stride=(2, 1)))
def test_a_sum_equals_adding_both_outputs(a: nn.Conv2d, b: nn.Conv2d) -> None:
    x = torch.randn(2, CHANNELS, 20, 21, dtype=torch.float64)
    total = Affine.of(a).plus(Affine.of(b))
    wanted = []
    for conv in (a, b):
        top = Affine.of(conv).window.offset[0] - total.window.offset[0]
        left = Affine.of(conv).window.offset[1] - total.window.offset[1]
        wanted.append(unpadded(conv, x[:, :, top:, left:]))
    got = applied(total, x)
    height, width = got.shape[-2:]
    both = wanted[0][..., :height, :width] + wanted[1][..., :height, :width]
    torch.testing.assert_close(got, both, rtol=1e-9, atol=1e-11)


def test_depthwise_after_depthwise_stays_depthwise() -> None:
    spec = Convolution(8, 8, (3, 3), groups=8)
    merged = Affine.of(make_conv(spec)).then(Affine.of(make_conv(spec)))
    assert merged.weight.shape == (8, 1, 5, 5)
    assert Affine.identity(8, merged.weight).plus(merged).weight.shape == (8, 1, 5, 5)


def test_folding_uses_each_norms_own_eps() -> None:
    for eps in (1e-5, 0.3):
        conv = nn.Conv2d(3, 6, 3, groups=3, bias=False).double()
        norm = randomised(nn.BatchNorm2d(6, eps=eps)).double()
        x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
        weight, bias = folded(conv, norm)
        torch.testing.assert_close(
            F.conv2d(x, weight, bias, groups=3), norm(conv(x)), rtol=1e-12, atol=1e-12
        )
