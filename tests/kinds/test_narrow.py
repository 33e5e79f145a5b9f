"""Branches with fewer hidden channels."""

import copy
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from depthopt.core.candidate import Candidate, replacing
from depthopt.core.chain import Barrier, Chain
from depthopt.errors import ModelError, UsageError
from depthopt.export.saved import load, save
from depthopt.extraction.extract import extract
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.kinds.latency_keys import latency_keys, parameters
from depthopt.kinds.narrow import of_width, why_no_branch
from depthopt.kinds.widths import fewer_channels
from depthopt.shallow.apply import apply
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse
from tests.networks import Residual
from tests.plans import plan_of
from tests.random_networks import random_networks

SIZE = (2, 33, 30)
MODEL = Residual().double()
CHAIN = extract(MODEL, SIZE)


def narrow(chain: Chain, share: float = 0.5, step: int = 1) -> tuple[Candidate, ...]:
    return replacing(
        candidates(chain, kinds=("narrow",), widths=(share,), width_step=step, fewer_macs=False)
    )


def more_regressed(chain: Chain) -> tuple[Candidate, ...]:
    return tuple(c for c in narrow(chain) if c.detail.endswith((" gated", " twice")))


def images(count: int = 6, size: tuple[int, int, int] = SIZE) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(8, *size, dtype=torch.float64) for _ in range(count)]


def with_statistics(model: nn.Module) -> None:
    """Give norms the statistics of no fresh ones: those would hide errors."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)


class Grouped(nn.Module):
    """Two branches with a grouped convolution inside each, in one with four channels a group."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        norm = nn.BatchNorm2d
        self.first = nn.Sequential(
            nn.Conv2d(2, 12, 1), norm(12), nn.SiLU(), nn.Conv2d(12, 6, (3, 1), (2, 1), groups=6),
            norm(6, affine=False), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=2, dilation=2, bias=False),
            norm(5, affine=False),
        )  # fmt: skip
        self.second = nn.Sequential(
            nn.Conv2d(5, 8, 1), norm(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1, groups=2, bias=False),
            nn.ReLU(), nn.Conv2d(8, 5, 1),
        )  # fmt: skip
        with_statistics(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return (self.second(x) + x).mean((2, 3))


class SqueezeExcite(nn.Module):
    """Weighs every channel by what the means of all say."""

    def __init__(self, channels: int, inner: int, *, pools: bool = False) -> None:
        super().__init__()
        self.squeeze, self.expand = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.act, self.gate = nn.ReLU(), nn.Hardsigmoid() if pools else nn.Sigmoid()
        self.pool = nn.AdaptiveAvgPool2d(1) if pools else None

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True) if self.pool is None else self.pool(x)
        gate = self.gate(self.expand(self.act(self.squeeze(means))))
        return x * gate if self.pool is None else torch.mul(gate, x)


class Gated(nn.Module):
    """Three branches with a gate before the last convolution, which in the first has no bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(
            nn.Conv2d(2, 12, 1), nn.SiLU(), nn.Conv2d(12, 12, 3, 2, 1, groups=12, bias=False),
            nn.BatchNorm2d(12), nn.ReLU(), SqueezeExcite(12, 3), nn.Conv2d(12, 5, 3, bias=False),
        )  # fmt: skip
        self.second = nn.Sequential(
            nn.Conv2d(5, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1, groups=2), nn.SiLU(),
            SqueezeExcite(4, 6, pools=True), nn.Conv2d(4, 5, 1, bias=False),
            nn.BatchNorm2d(5),
        )  # fmt: skip
        self.third = nn.Sequential(
            nn.Conv2d(5, 6, 1), nn.ReLU(), SqueezeExcite(6, 2), nn.Conv2d(6, 4, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.third(x + self.second(x)).mean((2, 3))


class Bottlenecks(nn.Module):
    """Two whole bottlenecks, of which the first has norms without weights and halves the size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        norm = nn.BatchNorm2d
        self.first = nn.Sequential(
            nn.Conv2d(2, 8, 1, bias=False), norm(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1),
            norm(8, affine=False), nn.ReLU(), nn.Conv2d(8, 5, 1, bias=False), norm(5),
        )  # fmt: skip
        self.second = nn.Sequential(
            nn.Conv2d(5, 6, 1), nn.SiLU(), nn.Conv2d(6, 6, (3, 1), bias=False, padding=(1, 0)),
            norm(6), nn.ReLU(), nn.Conv2d(6, 5, 1, bias=False),
        )  # fmt: skip
        self.third = nn.Sequential(
            nn.Conv2d(5, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, bias=False), nn.Conv2d(6, 4, 1)
        )
        with_statistics(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.third(x + self.second(x)).mean((2, 3))


def with_unread(model: nn.Module, chain: Chain, candidate: Candidate, seed: int) -> nn.Module:
    """The model, but only as many hidden channels are read as the candidate has."""
    model, gate = copy.deepcopy(model), chain.gate_in(candidate.start, candidate.end)
    readers = [candidate.end - 1, *([] if gate is None else [gate.start])]
    readers += [candidate.start + 1] if candidate.detail.endswith(" twice") else []
    convs = [model.get_submodule(chain.blocks[reader].name) for reader in readers]
    _, _, by = candidate.detail.removesuffix(" gated").removesuffix(" twice").partition(" by ")
    together, channels = int(by or 1), convs[0].in_channels
    torch.manual_seed(seed)
    units = torch.randperm(channels // together)[candidate.operators[-1].in_channels // together :]
    for conv, unit in product(convs, units.tolist()):
        conv.weight.data[:, unit * together : (unit + 1) * together] = 0
    return model


@torch.no_grad()
def what_is_not_read_goes_at_no_cost(model: nn.Module, seed: int) -> int:
    """Each branch by itself: the network computes the same, trained form and fused."""
    chain = extract(model, SIZE)
    found = narrow(chain)
    fresh = torch.randn(2, *SIZE, dtype=torch.float64)
    for candidate in found:
        changed = with_unread(model, chain, candidate, seed)
        network = apply(changed, chain, plan_of(chain, candidate), fitting=images())
        wanted = changed(fresh)
        scale = max(1.0, float(wanted.abs().max()))
        for other in (network, fuse(network)):
            torch.testing.assert_close(other(fresh), wanted, rtol=1e-8, atol=1e-8 * scale)
    return len(found)


@given(model=random_networks(), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_what_is_not_read_goes_at_no_cost(model: nn.Module, seed: int) -> None:
    what_is_not_read_goes_at_no_cost(model, seed)


@pytest.mark.nightly
@given(model=random_networks(), seed=st.integers(0, 99))
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_not_read_goes_at_no_cost_in_many_networks(model: nn.Module, seed: int) -> None:
    what_is_not_read_goes_at_no_cost(model, seed)


@pytest.mark.parametrize(
    "model",
    [Residual(), Grouped(), Gated(), Bottlenecks()],
    ids=["residual", "grouped", "gated", "bottlenecks"],
)
def test_likewise_of_known_networks(model: nn.Module) -> None:
    assert what_is_not_read_goes_at_no_cost(model.eval().double(), 1) >= 2


def test_branches_keep_their_form_and_their_ends() -> None:
    found = {(c.start, c.end): c for c in narrow(CHAIN)}
    assert list(found) == [(1, 3), (3, 5), (5, 8)]
    assert str(found[1, 3]) == "narrow 1:3 4-2 k3x3 p1,1,1,1 + 2-4 k3x3 p1,1,1,1 relu of 4 channels"
    first, middle, last = found[5, 8].operators
    assert (first.out_channels, middle.groups, last.in_channels) == (8, 8, 8)
    assert Candidate.parse(found[5, 8].key) == found[5, 8]


def test_a_gate_follows_the_channels_that_it_weighs() -> None:
    chain = extract(Gated().eval().double(), SIZE)
    first, second, third = more_regressed(chain)
    assert [str(operator) for operator in first.operators] == [
        "2-6 k1x1", "6-6 k3x3 s2x2 p1,1,1,1 g6", "6-3 k1x1", "3-6 k1x1", "6-5 k3x3",
    ]  # fmt: skip
    assert (first.detail, second.detail) == ("12 channels gated", "4 channels by 2 gated")
    assert [(c.start, c.end) for c in (first, second, third)] == [(0, 5), (5, 10), (10, 14)]
    assert Candidate.parse(second.key) == second
    other = replace(chain.gates[0], source=chain.blocks[0].output)
    of_another = replace(chain, gates=(other, *chain.gates[1:]))
    for without in (of_another, replace(chain, gates=())):
        assert "read elsewhere: mean" in str(why_no_branch(without, 0, 5))


def test_a_bottleneck_loses_channels_of_both_hidden_tensors() -> None:
    chain = extract(Bottlenecks().eval().double(), SIZE)
    found = more_regressed(chain)
    assert [(c.start, c.end) for c in found] == [(0, 3), (3, 6), (6, 9)]
    assert (
        found[0].key
        == "narrow 0:3 2-4 k1x1 + 4-4 k3x3 s2x2 p1,1,1,1 + 4-5 k1x1 of 8 channels twice"
    )
    assert Candidate.parse(found[0].key) == found[0]
    halves = {(c.start, c.end) for c in narrow(chain)} - {(c.start, c.end) for c in found}
    assert {(0, 2), (1, 3)} <= halves
    network, _ = build(Bottlenecks().double(), chain, plan_of(chain, found[0]))
    own = fuse(network)
    mine = [own.get_submodule(f"first.{name}") for name in (0, 3, 6)]
    assert parameters(chain, found[0]) == sum(p.numel() for m in mine for p in m.parameters())


@pytest.mark.parametrize("network", [Gated, Bottlenecks])
@torch.no_grad()
def test_branches_with_more_inside_are_scored_carried_out_and_saved(network, tmp_path) -> None:
    """What is scored is what is carried out, and what is saved is loaded."""
    model, batches = network().eval().double(), images(10)
    chain = extract(model, SIZE)
    found, fresh = more_regressed(chain), torch.cat(batches[8:])
    listed, held_out = [*candidates(chain, kinds=()), *found], [(fresh, None)]
    table = estimate(model, chain, listed, fitting=batches[:8], held_out=held_out)
    wanted = model(fresh).log_softmax(1)
    for c in found:
        plan = plan_of(chain, c)
        changed = apply(model, chain, plan, fitting=batches[:8], compensated=False)
        given_ = changed(fresh).log_softmax(1)
        divergence = nn.functional.kl_div(given_, wanted, log_target=True, reduction="batchmean")
        assert float(divergence) == pytest.approx(table.entries[c].cost, rel=0.1)
    plan = plan_of(chain, *found)
    fused = fuse(apply(model, chain, plan, fitting=batches))
    save(fused, tmp_path, plan, model=network())
    again = load(tmp_path, model=network())
    assert torch.equal(again(fresh), fused(fresh))


def test_what_runs_is_the_kept_blocks_narrower() -> None:
    candidate = next(c for c in narrow(CHAIN) if c.start == 3)
    network, _ = build(MODEL, CHAIN, plan_of(CHAIN, candidate))
    assert [str(key.operator) for key in latency_keys(CHAIN, candidate)] == [
        "4-4 k3x3 s2x2 p1,1,1,1", "4-8 k3x3 p1,1,1,1", "4-8 k1x1 s2x2",
    ]  # fmt: skip
    own = fuse(network)
    mine = [own.get_submodule(name) for name in ("b1.0", "b2.0", "bp.0")]
    assert parameters(CHAIN, candidate) == sum(p.numel() for m in mine for p in m.parameters())


def test_why_a_run_of_blocks_is_no_branch() -> None:
    def why(start: int, end: int, chain: Chain = CHAIN) -> str:
        return str(why_no_branch(chain, start, end))

    assert "one block" in why(0, 1)
    assert "crosses in part" in why(0, 2)
    assert "takes part in add" in why(1, 5)
    assert "does not begin and end with dense convolutions" in why(5, 7)
    barrier = Barrier(6, "gate", "gate reads it", (5, 8))
    assert "read elsewhere: gate reads it" in why(5, 8, replace(CHAIN, barriers=(barrier,)))
    grouped = extract(Grouped().double(), SIZE)
    assert why(0, 3, grouped) == why(3, 6, grouped) == "None"
    dense = [replace(block, operator=replace(block.operator, groups=1)) for block in CHAIN.blocks]
    assert why(5, 8, replace(CHAIN, blocks=tuple(dense))) == "None"
    dense[6] = replace(dense[6], operator=replace(dense[6].operator, out_channels=8))
    assert "halves can be narrowed" in why(5, 8, replace(CHAIN, blocks=tuple(dense)))


def test_widths_are_whole_steps_of_what_goes_together() -> None:
    assert fewer_channels(64, (0.875, 0.75, 0.5, 0.25), 8) == (56, 48, 32, 16)
    assert fewer_channels(24, (0.9, 0.5, 0.1), 8) == (16, 8)
    assert fewer_channels(8, (0.5,), 8) == (), "no step leaves a channel"
    assert not narrow(CHAIN, step=16)
    with pytest.raises(UsageError, match=r"width 1.5 is not a share between 0 and 1"):
        narrow(CHAIN, share=1.5)


def test_a_plan_with_another_branch_is_refused() -> None:
    candidate = narrow(CHAIN)[0]
    for operators in (candidate.operators[::-1], candidate.operators[:1], ()):
        other = replace(candidate, operators=operators)
        with pytest.raises(ModelError, match="is not a narrower form of these blocks"):
            build(MODEL, CHAIN, plan_of(CHAIN, other))
    with pytest.raises(UsageError, match="is not a narrower form of its blocks"):
        latency_keys(CHAIN, replace(candidate, operators=()))
    with pytest.raises(UsageError, match="the plan fits 1 segments on data"):
        apply(MODEL, CHAIN, plan_of(CHAIN, candidate))


def test_a_narrower_branch_costs_more_and_none_that_is_not_read() -> None:
    found = [of_width(CHAIN, 5, 8, width) for width in (6, 4, 2)]
    batches = images(10)
    held_out = [(torch.cat(batches[8:]), None)]
    listed = [*candidates(CHAIN, kinds=()), *found]

    def costs(model: nn.Module) -> list[float]:
        table = estimate(model, CHAIN, listed, fitting=batches[:8], held_out=held_out)
        return [table.entries[c].cost for c in found]

    wide, middle, small = costs(MODEL)
    assert 1e-10 < wide < middle < small
    wide, middle, _ = costs(with_unread(MODEL, CHAIN, found[1], 0))
    assert max(abs(wide), abs(middle)) < 1e-15


def test_it_stands_beside_other_kinds_and_is_saved(tmp_path) -> None:
    model = Residual().eval()
    chain = extract(model, SIZE, name="residual")
    others = candidates(chain, kinds=("fit",), fewer_macs=False)
    fit = next(c for c in others if c.kind == "fit" and (c.start, c.end) == (1, 3))
    plan = plan_of(chain, fit, narrow(chain)[1], narrow(chain)[2])
    network = apply(model, chain, plan, fitting=[x.float() for x in images(10)])
    network.train()(images(1)[0].float()).sum().backward()
    fused = fuse(network.eval())
    save(fused, tmp_path / "saved", plan, model=Residual())
    again = load(tmp_path / "saved", model=Residual())
    x = images(1)[0].float()
    with torch.no_grad():
        assert torch.equal(again(x), fused(x))
        assert network(x).allclose(fused(x), atol=1e-5)
