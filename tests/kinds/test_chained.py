"""Fits in a row that are one convolution once fused."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Barrier, Chain
from depthopt.core.operators import Convolution
from depthopt.core.plan import Plan
from depthopt.export.saved import load, load_saved, save
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.kinds.chained import as_fused, running
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.plans import plan_of, random_plan
from tests.random_networks import random_networks

SIZE = (2, 33, 30)


class Bottlenecks(nn.Module):
    """Two parts that end without an activation, the second with a skip around it, and one more."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(
            nn.Conv2d(2, 12, 1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 6, 3, 1, 1),
            nn.BatchNorm2d(6),
        )  # fmt: skip
        self.second = nn.Sequential(nn.Conv2d(6, 12, 1), nn.ReLU(), nn.Conv2d(12, 6, 1))
        self.third = nn.Sequential(nn.Conv2d(6, 12, 1), nn.ReLU(), nn.Conv2d(12, 4, 1, stride=2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.third(x + self.second(x)).mean((2, 3))


MODEL = Bottlenecks().double().eval()
CHAIN = extract(MODEL, SIZE)
FITS = candidates(CHAIN, kinds=("fit",), kernel_sizes=(1, 3), fewer_macs=False)
IMAGES = [torch.randn(4, *SIZE, dtype=torch.float64) for _ in range(5)]


def fit(start: int, end: int, size: int = 1, groups: int = 1) -> Candidate:
    return next(
        c for c in FITS
        if (c.kind, c.start, c.end) == ("fit", start, end)
        and (c.convolution.kernel_size, c.convolution.groups) == ((size, size), groups)
    )  # fmt: skip


def groups(chain: Chain, *choices: Candidate) -> list[int]:
    return [len(group) for group in as_fused(chain, plan_of(chain, *choices).choices)]


def without_activations(plan: Plan, seed: int) -> Plan:
    """Fits of which most have lost the activation behind them."""
    generator = random.Random(seed)
    choices = tuple(
        replace(c, activation=None) if c.kind == "fit" and generator.random() < 0.8 else c
        for c in plan.choices
    )
    return replace(plan, choices=choices)


@torch.no_grad()
def is_one(model: nn.Module, seed: int) -> int:
    """Fused, each run of fits is one convolution, and the network computes the same."""
    chain = extract(model, SIZE)
    sizes = (1, 3) if seed % 2 else (1,)
    found = candidates(chain, kinds=("fit",), kernel_sizes=sizes, fewer_macs=False)
    plan = without_activations(random_plan(chain, found, seed, share=0.95), seed)
    network = apply(model, chain, plan, fitting=IMAGES)
    fused = fuse(network)
    torch.testing.assert_close(fused(IMAGES[0]), network(IMAGES[0]), rtol=1e-9, atol=1e-9)
    names = {name for name, m in fused.named_modules() if isinstance(m, nn.Conv2d)}
    joined = 0
    for group, one in zip(as_fused(chain, plan.choices), running(chain, plan.choices), strict=True):
        there = [f"segment_{c.start}_{c.end}" for c in group if c.kind == "fit"]
        assert not names & set(there[1:])
        if len(group) > 1:
            joined += 1
            weight = fused.get_submodule(there[0]).weight
            own = one.convolution
            assert weight.shape == (
                own.out_channels, own.in_channels // own.groups, *own.kernel_size
            )  # fmt: skip
    return joined


class Row(nn.Module):
    """Two to four parts, each of two layers of which the last is linear, some with a skip."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        generator = random.Random(seed)
        channels, parts, self.skips = 2, [], []
        for _ in range(generator.randint(2, 4)):
            out = generator.choice((2, 4, channels))
            stride, size = generator.choice((1, 1, 2)), generator.choice((1, 3))
            parts.append(
                nn.Sequential(
                    nn.Conv2d(channels, 6, 1), generator.choice((nn.ReLU, nn.SiLU))(),
                    nn.Conv2d(6, out, size, stride, size // 2, bias=False), nn.BatchNorm2d(out),
                )
            )  # fmt: skip
            self.skips.append(generator.random() < 0.5 and stride == 1 and channels == out)
            channels = out
        self.parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part, skip in zip(self.parts, self.skips, strict=True):
            x = x + part(x) if skip else part(x)
        return x.mean((2, 3))


def joined_in_rows(seeds: range) -> int:
    return sum(is_one(Row(seed).double().eval(), seed) for seed in seeds)


def test_rows_of_fits_become_one() -> None:
    assert joined_in_rows(range(20)) > 10


@given(model=random_networks(), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_random_networks_stay_what_they_are(model: nn.Module, seed: int) -> None:
    is_one(model, seed)


@pytest.mark.nightly
def test_many_rows_of_fits_become_one() -> None:
    assert joined_in_rows(range(1000, 1400)) > 150


@pytest.mark.nightly
@given(model=random_networks(), seed=st.integers(0, 9999))
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_random_networks_stay_what_they_are(model: nn.Module, seed: int) -> None:
    is_one(model, seed)


def test_what_is_joined() -> None:
    """All that follows a part that ends without an activation, up to what has one or is read."""
    assert groups(CHAIN, fit(0, 2, 3), fit(2, 4)) == [2, 1, 1]
    assert groups(CHAIN, fit(0, 2, 3), fit(2, 4), fit(4, 6)) == [3]
    assert groups(CHAIN, fit(0, 2, 3), fit(2, 4), fit(4, 5)) == [2, 1, 1]  # it gives more than read
    padded = Convolution(6, 6, (3, 3), padding=(1, 1, 1, 1))
    assert groups(CHAIN, fit(0, 2), replace(fit(2, 4), operators=(padded,))) == [1, 1, 1, 1]
    assert groups(CHAIN, fit(0, 2, 3), fit(2, 3)) == [1, 1, 1, 1, 1]  # the skip reads it too
    assert groups(CHAIN, fit(0, 1), fit(1, 2)) == [1, 1, 1, 1, 1, 1]  # an activation
    assert groups(CHAIN, fit(2, 4, 1, 6), fit(4, 6)) == [1, 1, 1, 1]  # depthwise, then dense
    assert groups(CHAIN, fit(0, 2, 3), fit(2, 4, 1, 6)) == [2, 1, 1]
    read = replace(CHAIN, barriers=(Barrier(2, "mean", "is read"),))
    assert groups(read, fit(0, 2, 3), fit(2, 4)) == [1, 1, 1, 1]


def test_what_runs_of_them() -> None:
    (one, *_) = running(CHAIN, plan_of(CHAIN, fit(0, 2, 3), fit(2, 4), fit(4, 6)).choices)
    assert one.key == "fit 0:6 2-4 k3x3 s2x2 p1,1,1,1"


@torch.no_grad()
def test_a_saved_network_is_as_it_was_saved(tmp_path) -> None:
    plan = plan_of(CHAIN, fit(0, 2, 3), fit(2, 4))
    network = apply(MODEL, CHAIN, plan, fitting=IMAGES)
    wanted = network(IMAGES[0])
    for name, each in {"applied": network, "fused": fuse(network)}.items():
        save(each, tmp_path / name, plan, model=Bottlenecks)
        again = load(tmp_path / name, model=Bottlenecks)
        torch.testing.assert_close(again(IMAGES[0]), wanted, rtol=1e-9, atol=1e-9)
        convolutions = sum(isinstance(m, nn.Conv2d) for m in fuse(again).modules())
        assert convolutions == 3
    network.meta["joined"] = ()  # as earlier versions made them
    save(fuse(network), tmp_path / "earlier", plan, model=Bottlenecks)
    assert not load_saved(tmp_path / "earlier").joined
    again = load(tmp_path / "earlier", model=Bottlenecks)
    assert sum(isinstance(m, nn.Conv2d) for m in again.modules()) == 4
    torch.testing.assert_close(again(IMAGES[0]), wanted, rtol=1e-9, atol=1e-9)
