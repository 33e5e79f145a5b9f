"""Properties of merging that hold for any network."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from depthopt.core.window import Window
from depthopt.extraction.extract import extract
from depthopt.graph.partial import record
from depthopt.graph.trace import trace
from depthopt.kinds.candidates import candidates
from depthopt.kinds.merge import composed_blocks
from depthopt.rewrite.expanded import ExpandedSegment
from depthopt.rewrite.regression import convolve
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse
from tests.plans import random_plan
from tests.random_networks import random_networks

SIZE = (2, 33, 30)

quick = settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
thorough = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))


@torch.no_grad()
def forms_agree(model: nn.Module, seed: int) -> None:
    """Whatever a plan replaces: expanded, fused, and fused later compute the same."""
    chain = extract(model, SIZE)
    everything = candidates(
        chain, kinds=("drop", "fit", "merge"), kernel_sizes=(1, 3), fewer_macs=False
    )
    plan = random_plan(chain, everything, seed)
    x = torch.randn(2, *SIZE, dtype=torch.float64)
    networks = []
    for form in ("expanded", "fused"):
        network, added = build(model, chain, plan, form)
        for choice, new in added.items():
            if choice.kind == "fit":
                for parameter in network.get_submodule(new.name).parameters():
                    parameter.fill_(0.1)
        networks.append(network.eval())
    wanted = networks[0](x)
    assert bool(torch.isfinite(wanted).all())
    for other in (networks[1], fuse(networks[0]), fuse(networks[1])):
        torch.testing.assert_close(other(x), wanted, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def merging_linear_layers_changes_no_inner_pixel(model: nn.Module) -> None:
    """Where no padding is in reach, one convolution gives what its segment gave."""
    chain = extract(model, SIZE)
    traced = trace(model, SIZE)
    names = {n for b in chain.blocks for n in (b.input, b.preactivation)}
    names |= {n for s in chain.skips for n in (s.operand, s.add)}
    values = record(traced, torch.randn(2, *SIZE, dtype=torch.float64), names)
    for candidate in candidates(chain, kinds=("merge",), fewer_macs=False):
        if candidate.kind != "merge":
            continue
        segment = candidate.start, candidate.end
        operator = ExpandedSegment(
            traced, chain, segment, composed_blocks(candidate), candidate.convolution
        ).operator()
        x = values[chain.blocks[candidate.start].input]
        got = convolve(x, operator.weight, operator.bias, candidate.convolution)
        for skip in chain.open_skips(*segment):
            got = got + values[skip.operand]
        wanted = values[chain.ending(*segment).preactivation]
        rows, columns = (
            inner(Window.of(candidate.convolution), axis, x.shape[2 + axis], wanted.shape[2 + axis])
            for axis in (0, 1)
        )
        assert got.shape == wanted.shape
        torch.testing.assert_close(
            got[..., rows, columns], wanted[..., rows, columns], rtol=1e-9, atol=1e-9
        )


def inner(window: Window, axis: int, size: int, output_size: int) -> slice:
    """The output pixels along one axis that read no pixel outside the input."""
    stride, offset, length = window.stride[axis], window.offset[axis], window.size[axis]
    inside = [
        y
        for y in range(output_size)
        if y * stride + offset >= 0 and y * stride + offset + length <= size
    ]
    return slice(inside[0], inside[-1] + 1) if inside else slice(0, 0)


@quick
@given(random_networks(), st.integers(0, 9))
def test_forms_agree(model: nn.Module, seed: int) -> None:
    forms_agree(model, seed)


@quick
@given(random_networks(linear=True))
def test_merging_linear_layers_changes_no_inner_pixel(model: nn.Module) -> None:
    merging_linear_layers_changes_no_inner_pixel(model)


@pytest.mark.nightly
@thorough
@given(random_networks(), st.integers(0, 9))
def test_forms_agree_thoroughly(model: nn.Module, seed: int) -> None:
    forms_agree(model, seed)


@pytest.mark.nightly
@thorough
@given(random_networks(linear=True))
def test_merging_linear_layers_changes_no_inner_pixel_thoroughly(model: nn.Module) -> None:
    merging_linear_layers_changes_no_inner_pixel(model)
