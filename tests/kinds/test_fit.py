"""One convolution in a segment's place, or two in a row."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from depthopt.core.candidate import Candidate, replacing
from depthopt.core.chain import Chain
from depthopt.core.operators import AveragePooling
from depthopt.errors import ModelError, UsageError
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import latency_keys, parameters
from depthopt.shallow.apply import apply
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse
from depthopt.tables.importance import ImportanceTable
from tests.networks import Residual
from tests.plans import plan_of, random_plan
from tests.random_networks import random_networks

SIZE = (2, 33, 30)
MODEL = Residual().double()
CHAIN = extract(MODEL, SIZE)
PAIRS = ("separable", "low_rank")


def fits(chain: Chain, *names: str, fewer_macs: bool = False) -> tuple[Candidate, ...]:
    return candidates(
        chain,
        kinds=("fit",),
        fits=names,
        kernel_sizes=(1, 3),
        ranks=(0.5,),
        width_step=1,
        fewer_macs=fewer_macs,
    )


def test_each_form_is_listed_where_it_can_be() -> None:
    def listed(*names: str) -> list[str]:
        found = replacing(fits(CHAIN, *names))
        return [" + ".join(map(str, c.operators)) for c in found if (c.start, c.end) == (3, 5)]

    assert listed("dense") == ["4-8 k1x1 s2x2", "4-8 k3x3 s2x2 p1,1,1,1"]
    assert listed("depthwise") == []
    assert listed("separable") == ["4-4 k3x3 s2x2 p1,1,1,1 g4 + 4-8 k1x1"]
    assert listed("low_rank") == ["4-2 k1x1 + 2-8 k1x1 s2x2", "4-2 k1x1 + 2-8 k3x3 s2x2 p1,1,1,1"]
    assert listed(*PAIRS) == [
        *listed("low_rank")[:1],
        *listed("separable"),
        *listed("low_rank")[1:],
    ]
    with pytest.raises(UsageError, match="fit 'thin' is unknown; known: dense, depthwise, separa"):
        fits(CHAIN, "thin")


def test_a_plan_with_other_operators_is_refused() -> None:
    one = next(c for c in fits(CHAIN, "separable") if (c.start, c.end) == (3, 5))
    first, last = one.operators
    for operators, said in (
        ((), "is neither one convolution nor two in a row"),
        ((first, last, last), "is neither one convolution nor two in a row"),
        ((AveragePooling(4, (2, 2), (2, 2)), last), "is neither one convolution nor two in a row"),
        ((replace(first, groups=1), last), "is neither a depthwise convolution and a 1x1 one"),
    ):
        with pytest.raises(ModelError, match=said):
            build(MODEL, CHAIN, plan_of(CHAIN, replace(one, operators=operators)))


def test_what_runs_is_both() -> None:
    one = next(c for c in fits(CHAIN, "separable") if (c.start, c.end) == (3, 5))
    first, last = latency_keys(CHAIN, one)
    assert str(first) == "conv 4-4 k3x3 s2x2 p1,1,1,1 g4 @33x30"
    assert str(last) == "conv 4-8 k1x1 @17x15 relu"
    assert parameters(CHAIN, one) == 4 * 10 + 8 * 5
    assert Candidate.parse(one.key) == one


@torch.no_grad()
def is_carried_out(model: nn.Module, seed: int) -> None:
    """Whatever two are put in: trained form and fused one agree, and two they stay."""
    chain = extract(model, SIZE)
    plan = random_plan(chain, fits(chain, *PAIRS), seed)
    images = [torch.randn(4, *SIZE, dtype=torch.float64) for _ in range(5)]
    network = apply(model, chain, plan, fitting=images)
    fused, x = fuse(network), images[0]
    torch.testing.assert_close(fused(x), network(x), rtol=1e-8, atol=1e-8)
    pairs = sum(len(c.operators) == 2 for c in plan.choices)
    convolutions = [m for m in fused.modules() if isinstance(m, nn.Conv2d)]
    seconds = [name for name, _ in fused.named_modules() if name.endswith("_second")]
    assert len(seconds) == pairs <= len(convolutions)


@given(model=random_networks(), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_two_are_carried_out(model: nn.Module, seed: int) -> None:
    is_carried_out(model, seed)


def test_a_norm_behind_two_sees_what_it_is_told() -> None:
    """In training mode, on the images that were regressed on, the network computes the same."""
    torch.manual_seed(0)
    images = [torch.randn(8, *SIZE, dtype=torch.float64) for _ in range(5)]
    seen = torch.cat(images[:4])
    for name in PAIRS:
        one = next(c for c in fits(CHAIN, name) if (c.start, c.end) == (1, 3))
        network = apply(MODEL, CHAIN, plan_of(CHAIN, one), fitting=images, compensated=False)
        norm, inputs = network.get_submodule("segment_1_3_norm"), []
        norm.register_forward_pre_hook(lambda _, x, inputs=inputs: inputs.append(x[0]))
        with torch.no_grad():
            network(seen)
        (given_,) = inputs
        torch.testing.assert_close(norm.running_mean, given_.mean((0, 2, 3)))
        variance = given_.var((0, 2, 3), correction=0)
        torch.testing.assert_close(norm.running_var, variance)


def test_two_are_scored_by_what_they_compute() -> None:
    """One convolution of a size costs less than two that together compute a part of what it can."""
    torch.manual_seed(0)
    images = [torch.randn(16, *SIZE, dtype=torch.float64) for _ in range(5)]
    listed = fits(CHAIN, "dense", *PAIRS)
    held_out = [(images[4], None)]
    table = estimate(MODEL, CHAIN, listed, fitting=images[:4], held_out=held_out, ridges=[1e-6])
    (one, *two) = (c for c in replacing(listed) if (c.start, c.end) == (1, 3) and "k3x3" in c.key)
    assert [len(c.operators) for c in two] == [2, 2]
    assert all(table.entries[one].cost < table.entries[c].cost for c in two)


def test_pairs_that_others_beat_are_not_scored() -> None:
    torch.manual_seed(0)
    images = [torch.randn(16, *SIZE, dtype=torch.float64) for _ in range(5)]
    listed = fits(CHAIN, "dense", *PAIRS)
    pairs = {c for c in listed if len(c.operators) == 2}
    steps: list[int] = []

    def estimated(pair_ms: float, table: ImportanceTable | None = None) -> ImportanceTable:
        return estimate(
            MODEL,
            CHAIN,
            listed,
            fitting=images[:4],
            held_out=[(images[4], None)],
            latency_ms={c: pair_ms if c in pairs else 2.0 for c in listed},
            table=table,
            progress=lambda _, total, __: steps.append(total),
        )

    slow, quick = estimated(2.0), estimated(1.0)
    assert set(slow.beaten) == pairs, "a dense one of the same kernel comes nearer"
    assert set(slow.entries) == set(replacing(listed)) - pairs
    left = [(c.start, c.end) for c in quick.entries if c in pairs]
    assert sorted(left) == sorted({(c.start, c.end) for c in pairs}), "of equally fast ones one"
    assert set(quick.beaten) | set(quick.entries) == set(replacing(listed))
    whole = estimate(MODEL, CHAIN, listed, fitting=images[:4], held_out=[(images[4], None)])
    assert not whole.beaten
    assert all(whole.entries[c] == entry for c, entry in quick.entries.items())
    assert estimated(1.0, quick) == quick
    assert steps[-1] == 0, "none of it is done again"
