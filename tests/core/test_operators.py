"""Operators as text, and their sizes and counts against torch's."""

import re

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from depthopt.core.operators import (
    Activation,
    AveragePooling,
    Convolution,
    Identity,
    Operator,
    parse_operator,
)
from depthopt.errors import UsageError
from tests.random_operators import activations, convolutions, identities, operators, poolings

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(convolutions)
def test_a_convolution_is_read_back_from_its_name(convolution: Convolution) -> None:
    assert Convolution.parse(str(convolution)) == convolution


@given(poolings)
def test_a_pooling_is_read_back_from_its_name(pooling: AveragePooling) -> None:
    assert AveragePooling.parse(str(pooling)) == pooling


@given(identities)
def test_an_identity_is_read_back_from_its_name(identity: Identity) -> None:
    assert Identity.parse(str(identity)) == identity


@given(activations)
def test_an_activation_is_read_back_from_its_name(activation: Activation) -> None:
    assert Activation.parse(str(activation)) == activation


@given(operators)
def test_any_operator_is_told_from_its_name(operator: Operator) -> None:
    assert parse_operator(str(operator)) == operator


def test_names_are_those_that_files_hold() -> None:
    full = Convolution(8, 16, (3, 1), (2, 1), (1, 0, -1, 2), (1, 2), 4)
    assert str(full) == "8-16 k3x1 s2x1 p1,0,-1,2 d1x2 g4"
    assert str(Convolution(8, 16, (1, 1))) == "8-16 k1x1"
    pooling = AveragePooling(64, (2, 2), (2, 2), (0, 1, 0, 1))
    assert str(pooling) == "avgpool 64-64 k2x2 s2x2 p0,1,0,1 g64"
    assert str(AveragePooling(1, (3, 3), (1, 1))) == "avgpool 1-1 k3x3"
    assert str(Identity(64)) == "identity 64"
    assert str(Activation("gelu_tanh")) == "gelu_tanh"
    assert str(Activation("leaky_relu", 0.2)) == "leaky_relu:0.2"
    assert str(Activation("leaky_relu", 1 / 3)) == "leaky_relu:0.3333333333333333"


WRONG = [
    "", " ", "3", "3-4", "3-4 k1", "3-4 k1x1 ", "3-4 k1x1 x2", "a-4 k1x1", "3-4 k1x1 p1,1,1",
    "3-4 g1 k1x1", "conv 3-4 k1x1", "identity", "identity 3-4", "identity x", "Identity 3",
    "avgpool 3 k2x2", "avgpool 3-4 k2x2", "avgpool 3-3 k2x2 g4", "avgpool 3-3 k2x2 d2x2 g3",
    "avgpool", "3-4 k1x1 + 4-4 k1x1",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_the_name_of_no_operator_is_refused(text: str) -> None:
    for kind in (Convolution, AveragePooling, Identity):
        with pytest.raises(ValueError, match=re.escape(f"{text!r} is not a")):
            kind.parse(text)
    with pytest.raises(ValueError, match=r"is not an? "):
        parse_operator(text)


@pytest.mark.parametrize("text", ["", "ReLU", "relu ", "relu:", ":0.2", "leaky_relu:steep", "2"])
def test_what_is_the_name_of_no_activation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an activation"):
        Activation.parse(text)


@st.composite
def runnable(draw: st.DrawFn) -> tuple[Convolution, tuple[int, int]]:
    """A small convolution, groups and padding per side included, with a size that it takes."""
    groups = draw(st.integers(1, 3))
    convolution = Convolution(
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        draw(st.tuples(*[st.integers(0, 3)] * 4)),
        draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        groups,
    )
    size = draw(SIZES)
    assume(min(convolution.output_size(size)) > 0)
    return convolution, size


@settings(deadline=None)
@given(runnable())
def test_a_convolution_counts_as_torchs_does(found: tuple[Convolution, tuple[int, int]]) -> None:
    convolution, size = found
    module = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,
        convolution.stride,
        dilation=convolution.dilation,
        groups=convolution.groups,
    )
    padded = nn.functional.pad(torch.zeros(1, convolution.in_channels, *size), convolution.padding)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        output = module(padded)
    assert output.shape == (1, convolution.out_channels, *convolution.output_size(size))
    assert convolution.macs(size) == counter.get_total_flops() // 2
    assert convolution.parameters == sum(p.numel() for p in module.parameters())
    ones = nn.functional.pad(torch.ones(1, convolution.in_channels, *size), convolution.padding)
    module(ones).sum().backward()
    read = sum(int((p.grad != 0).sum()) for p in module.parameters() if p.grad is not None)
    assert convolution.parameters_read(size) == read
    each = convolution.in_channels == convolution.out_channels == convolution.groups
    assert convolution.is_depthwise == each
    assert convolution.is_scaling == (each and convolution.kernel_size == (1, 1))


@settings(deadline=None)
@given(runnable(), st.integers(1, 4))
def test_a_pooling_counts_as_torchs_and_as_the_convolution_that_computes_it(
    found: tuple[Convolution, tuple[int, int]], channels: int
) -> None:
    convolution, size = found
    pooling = AveragePooling(
        channels, convolution.kernel_size, convolution.stride, convolution.padding
    )
    assume(min(pooling.output_size(size)) > 0)
    padded = nn.functional.pad(torch.zeros(1, channels, *size), pooling.padding)
    output = nn.functional.avg_pool2d(padded, pooling.kernel_size, pooling.stride)
    assert output.shape == (1, channels, *pooling.output_size(size))
    same = Convolution(
        channels, channels, pooling.kernel_size, pooling.stride, pooling.padding, groups=channels
    )
    assert pooling.macs(size) == same.macs(size)
    assert pooling.effective_kernel_size == same.effective_kernel_size
    assert pooling.groups == same.groups
    assert str(pooling) == f"avgpool {same}"
    assert pooling.is_depthwise
    assert pooling.parameters == 0
    assert pooling.in_channels == pooling.out_channels == channels


@given(identities, SIZES)
def test_an_identity_takes_nothing(identity: Identity, size: tuple[int, int]) -> None:
    assert identity.output_size(size) == size
    assert identity.macs(size) == identity.parameters == 0
    assert identity.in_channels == identity.out_channels == identity.channels
    assert identity.is_depthwise


def test_only_what_stays_the_same_when_it_is_applied_twice_is_idempotent() -> None:
    same = {name for name in ("elu", "relu", "relu6", "silu") if Activation(name).is_idempotent}
    assert same == {"relu", "relu6"}


def test_an_operator_that_is_not_known_keeps_its_name_and_is_refused_where_it_is_used() -> None:
    unknown = parse_operator("maxpool 3-3 k2x2 g3")
    assert str(unknown) == "maxpool 3-3 k2x2 g3"
    assert unknown == parse_operator("maxpool 3-3 k2x2 g3") != parse_operator("maxpool 4-4 k2x2")
    for use in (
        lambda: unknown.in_channels,
        lambda: unknown.out_channels,
        lambda: unknown.is_depthwise,
        lambda: unknown.parameters,
        lambda: unknown.output_size((4, 4)),
        lambda: unknown.macs((4, 4)),
    ):
        with pytest.raises(
            UsageError,
            match="operator 'maxpool' is unknown; known: attn, avgpool, identity, linear, lowrank",
        ):
            use()


@pytest.mark.parametrize(
    "text",
    ["0-4 k1x1", "4-4 k0x1", "4-4 k1x1 s0x1", "4-4 k1x1 d1x0", "4-4 k1x1 g0", "4-4 k1x1 g3",
     "avgpool 4-4 k2x2", "avgpool 0-0 k2x2 g0", "identity 0", "identity x", "identity ²",
     f"{'9' * 5000}-4 k1x1"],
)  # fmt: skip
def test_numbers_that_no_operator_has_are_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"is not an? (convolution|pooling|identity)|of its groups"
    ) as e:
        parse_operator(text)
    assert len(str(e.value)) < 500
