"""Merges of some of a segment's convolutions, against all 2^n subsets written out."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain as chained
from itertools import combinations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.fold import Edge, edges_of, fold
from depthopt.core.operators import Convolution
from depthopt.core.window import Window, segment_window
from depthopt.errors import UsageError
from depthopt.extraction.extract import extract
from depthopt.graph.trace import trace
from depthopt.importance.estimate import estimate
from depthopt.kinds.candidates import candidates
from depthopt.kinds.merge import composed_blocks
from depthopt.kinds.subsets import best_subsets, in_steps, is_removable
from depthopt.rewrite.expanded import ExpandedSegment
from depthopt.rewrite.fold import fold_norms
from depthopt.rewrite.norms import l1_norms
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.chains import chain_of, random_chain
from tests.networks import Residual
from tests.plans import plan_of, random_plan
from tests.random_networks import random_networks
from tests.rewrite.test_random_networks import inner

SIZE = (2, 13, 14)

quick = settings(
    max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def enumerated(
    chain: Chain, start: int, end: int, weights: Sequence[float]
) -> dict[Window, tuple[int, ...]]:
    """By window the best of all subsets; of equals the one that keeps the last difference."""
    steps, blocks = in_steps(weights), range(start, end)
    removable = [i for i in blocks if is_removable(chain.blocks[i])]
    every = chained.from_iterable(combinations(removable, n) for n in range(len(removable) + 1))
    best: dict[Window, tuple[int, tuple[int, ...]]] = {}
    for gone in every:
        kept = tuple(i for i in blocks if i not in gone)
        window = segment_window(chain, start, end, composed=kept)
        found = sum(steps[i] for i in kept), tuple(reversed(kept))
        best[window] = max(found, best.get(window, (-1, ())))
    return {window: tuple(reversed(kept)) for window, (_, kept) in best.items()}


def mixed(chain: Chain, random: np.random.Generator) -> Chain:
    """The same chain with kernels of several sizes and groups."""
    blocks = []
    for block in chain.blocks:
        size, groups = int(random.choice([1, 3, 5])), int(random.choice([1, 2, 4]))
        side = size // 2
        operator = Convolution(4, 4, (size, size), padding=(side,) * 4, groups=groups)
        blocks.append(replace(block, operator=operator))
    return replace(chain, blocks=tuple(blocks))


def test_of_200_segments_the_walk_finds_what_enumerating_finds() -> None:
    """Some norms are equal, so that sums are too; skips nest and lie side by side."""
    random, seen = np.random.default_rng(0), 0
    while seen < 200:
        chain = mixed(random_chain(random, int(random.integers(2, 8))), random)
        weights = random.choice([0.0, 0.1, 0.2, 0.3, 1.0], len(chain.blocks)).tolist()
        for start in range(len(chain.blocks)):
            ends = [e for s, e in chain.segments() if s == start]
            found: dict[int, dict[Window, tuple[int, ...]]] = {end: {} for end in ends}
            for end, window, kept in best_subsets(chain, start, ends, weights):
                found[end][window] = kept
            for end in ends:
                assert found[end] == enumerated(chain, start, end, weights)
                seen += 1


@quick
@given(random_networks(), st.integers(0, 99))
def test_of_strided_grouped_and_projected_networks_too(model: nn.Module, seed: int) -> None:
    chain = extract(model, SIZE)
    weights = np.random.default_rng(seed).random(len(chain.blocks)).tolist()
    for start, end in chain.segments():
        if chain.why_unmergeable(start, end) is None:
            found = best_subsets(chain, start, [end], weights)
            assert {w: kept for _, w, kept in found} == enumerated(chain, start, end, weights)


@quick
@given(random_networks())
@torch.no_grad()
def test_every_listed_subset_is_carried_out_exactly(model: nn.Module) -> None:
    """Away from the border, where padding in between differs, it is its convolutions in a row."""
    chain = extract(model, SIZE)
    traced, plain = trace(model, SIZE), trace(model, SIZE)
    fold_norms(plain, keep_nodes=True)
    listed = candidates(
        chain, kinds=("merge",), fewer_macs=False, subsets=True, weights=l1_norms(model, chain)
    )

    def through(edge: Edge, value: Tensor) -> Tensor:
        for layer in edge.layers:
            value = run(plain.get_submodule(layer.name), value)
        return value

    for candidate in (c for c in listed if c.kind == "merge" and c.operators):
        segment, kept = (candidate.start, candidate.end), composed_blocks(candidate)
        first = chain.blocks[candidate.start].layout
        x = torch.randn(1, first.in_channels, *first.input_size, dtype=torch.float64)
        wanted = fold(edges_of(chain, *segment, composed=kept), x, through, torch.add)
        window = segment_window(chain, *segment, composed=kept)
        rows, columns = (inner(window, a, x.shape[2 + a], wanted.shape[2 + a]) for a in (0, 1))
        expanded = ExpandedSegment(traced, chain, segment, kept, candidate.convolution).eval()
        for module in (expanded, expanded.fused()):
            torch.testing.assert_close(
                module(x)[..., rows, columns], wanted[..., rows, columns], rtol=1e-9, atol=1e-9
            )


def run(module: nn.Module, x: Tensor) -> Tensor:
    """A norm, a pooling or a convolution, with its own padding."""
    if isinstance(module, nn.BatchNorm2d):
        return F.batch_norm(
            x, module.running_mean, module.running_var, module.weight, module.bias, eps=module.eps
        )
    return module(x)


MODEL = Residual().double()
CHAIN = extract(MODEL, (2, 10, 11))
LISTED = candidates(
    CHAIN, kinds=("merge",), fewer_macs=False, subsets=True, weights=l1_norms(MODEL, CHAIN)
)


def test_without_subsets_the_same_whole_merges_are_listed() -> None:
    whole = candidates(CHAIN, kinds=("merge",), fewer_macs=False)
    assert set(whole) < set(LISTED)
    assert len({(c.start, c.end, c.operators) for c in LISTED}) == len(LISTED)


def test_a_segment_may_become_nothing() -> None:
    found = [c for c in LISTED if c.kind == "merge" and not c.operators]
    assert found
    for candidate in found:
        assert candidate.detail == "none"
        assert Candidate.parse(candidate.key) == candidate
        x = torch.randn(3, 2, 10, 11, dtype=torch.float64)
        network = apply(MODEL, CHAIN, plan_of(CHAIN, candidate))
        assert not any(name.startswith("segment") for name, _ in network.named_modules())
        torch.testing.assert_close(fuse(network)(x), network(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_plans_of_subsets_are_alike_in_every_form(seed: int) -> None:
    plan = random_plan(CHAIN, LISTED, seed)
    x = torch.randn(3, 2, 10, 11, dtype=torch.float64)
    expanded, fused = (apply(MODEL, CHAIN, plan, form=form) for form in ("expanded", "fused"))
    wanted = expanded(x)
    for other in (fused, fuse(expanded), fuse(fused)):
        torch.testing.assert_close(other(x), wanted, rtol=1e-9, atol=1e-9)


def test_every_subset_is_scored() -> None:
    model = Residual()
    images = torch.randn(24, 2, 10, 11, generator=torch.Generator().manual_seed(0))
    batches = list(images.split(8))
    some = [c for c in LISTED if c.kind == "merge" and c.end - c.start < 3]
    table = estimate(model, CHAIN, some, fitting=batches, held_out=[(b, None) for b in batches])
    assert set(table.entries) == set(some)


def test_subsets_need_one_norm_a_block() -> None:
    chain = chain_of(["relu", "relu"])
    with pytest.raises(UsageError, match=r"weights=depthopt\.l1_norms\(model, chain\)"):
        candidates(chain, kinds=("merge",), subsets=True)
    with pytest.raises(UsageError, match="weights has 1 norms, net has 2 blocks"):
        candidates(chain, kinds=("merge",), subsets=True, weights=[1.0])
    with pytest.raises(UsageError, match="the L1 norm of b1 is nan"):
        candidates(chain, kinds=("merge",), subsets=True, weights=[1.0, float("nan")])


def test_norms_are_those_of_the_weights_as_they_stand() -> None:
    norms = l1_norms(MODEL, CHAIN)
    modules = dict(MODEL.named_modules())
    wanted = [float(modules[b.name].weight.detach().abs().sum()) for b in CHAIN.blocks]
    assert norms == pytest.approx(wanted)
