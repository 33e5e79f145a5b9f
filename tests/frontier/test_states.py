"""Plans whose candidates agree on activations, against all of them written out."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.operators import Activation
from depthopt.errors import UsageError
from depthopt.frontier.solve import solve
from depthopt.kinds.candidates import candidates
from depthopt.kinds.ends import is_part
from depthopt.kinds.latency_keys import candidate_ms
from depthopt.latency.worthwhile import worthwhile
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import LatencyTable
from tests.chains import chain_of, random_chain
from tests.frontier.tables import random_candidates, tables

Listed = list[Candidate]


def with_states(random: np.random.Generator, chain: Chain) -> Listed:
    """Random candidates, many of them in other states at their ends, some of them parts."""
    found = list(kept_blocks(chain))
    for candidate in random_candidates(random, chain):
        entries, exits = (0, 1) if candidate.start else (0,), (0, 1)
        for entry, exit_ in product(entries, exits):
            if candidate.kind != "keep" and random.random() < 0.5:
                part = candidate.kind == "merge" and random.random() < 0.3
                detail = candidate.detail + (" part" if part else "")
                found.append(replace(candidate, entry=entry, exit=exit_, detail=detail))
    kept = (replace(block, entry=1) for block in kept_blocks(chain)[1:])
    return found + [block for block in kept if random.random() < 0.7]


def runs(listed: Listed, end: int, state: tuple[int, int]) -> list[list[int]]:
    """Every run of candidates from a position and state to the chain's end."""
    if state[0] == end:
        return [[]]
    return [
        [k, *rest]
        for k, c in enumerate(listed)
        if (c.start, c.entry) == state
        for rest in runs(listed, end, (c.end, c.exit))
    ]


def fastest(
    listed: Listed, ms: list[float], last: int, start: tuple[int, int], whole: Candidate
) -> float:
    """The fastest run of pieces that computes what a merge does, from a position and state."""
    best = math.inf
    for k, c in enumerate(listed):
        if c.kind not in {"keep", "merge"} or (c.start, c.entry) != start or c.end > whole.end:
            continue
        if c.end == whole.end:
            same = c.activation == whole.activation and (c.exit == whole.exit or c.end == last)
            best = min(best, ms[k] if same else math.inf)
        elif c.activation is None:
            best = min(best, ms[k] + fastest(listed, ms, last, (c.end, c.exit), whole))
    return best


def brute_force(
    chain: Chain,
    listed: Listed,
    latency: LatencyTable,
    importance: ImportanceTable,
    *,
    inner_merges: bool,
) -> list[tuple[float, float]]:
    ms, last = [candidate_ms(chain, c, latency) for c in listed], len(chain.blocks)
    scored = [k for k, c in enumerate(listed) if not is_part(c)]
    least = {
        k: min(ms[k], fastest(listed, ms, last, (c.start, c.entry), c))
        if inner_merges and c.kind == "merge"
        else ms[k]
        for k, c in enumerate(listed)
    }
    cost = {k: importance.entries[listed[k]].cost if listed[k].replaces else 0.0 for k in scored}
    plans = []
    for run in runs([listed[k] for k in scored], last, (0, 0)):
        whole = [scored[i] for i in run]
        plans.append((3.0 + sum(least[k] for k in whole), sum(cost[k] for k in whole)))
    frontier: list[tuple[float, float]] = []
    for ms_, cost_ in sorted(plans):
        if not frontier or cost_ < frontier[-1][1]:
            frontier.append((ms_, cost_))
    return frontier


@pytest.mark.parametrize("inner_merges", [True, False])
def test_the_frontier_over_states_equals_brute_force(inner_merges: bool) -> None:
    """150 random chains each."""
    random, others = np.random.default_rng(3), 0
    for _ in range(150):
        chain = random_chain(random, int(random.integers(2, 5)))
        listed = with_states(random, chain)
        latency, importance = tables(random, chain, listed)
        frontier = solve(chain, listed, latency, importance, inner_merges=inner_merges)
        wanted = brute_force(chain, listed, latency, importance, inner_merges=inner_merges)
        assert [(p.latency_ms, p.cost) for p in frontier.points] == wanted
        for i in range(len(wanted)):
            choices = frontier.plan(i).choices
            ends = [(0, 0), *((c.end, c.exit) for c in choices)]
            assert ends[:-1] == [(c.start, c.entry) for c in choices]
            assert ends[-1][0] == len(chain.blocks)
            others += any(c.entry or c.exit for c in choices)
            if not inner_merges:
                assert not any(map(is_part, choices))
    assert others > 100, "states matter"


@pytest.mark.parametrize("first", [None, "relu"])
def test_only_with_inner_merges_a_merge_is_realised_as_several(first: str | None) -> None:
    """Keeping costs and one convolution is slow; that first activation is gone either way."""
    chain = chain_of([first, "relu"])
    listed = candidates(
        chain, kinds=("merge",), fewer_macs=False, inserted="relu", end_activations=True
    )
    latency, _ = tables(np.random.default_rng(0), chain, listed)
    entries = {
        key: replace(entry, median_ms=50.0 if key.operator.kernel_size == (5, 5) else 1.0)
        for key, entry in latency.entries.items()
    }
    latency = replace(latency, entries=entries)
    costs = {c: Importance(0.0 if c.end - c.start == 2 else 1.0) for c in listed if not is_part(c)}
    importance = ImportanceTable("net", "finetune", 16, costs)
    several = solve(chain, listed, latency, importance)
    assert [(p.latency_ms, p.cost) for p in several.points] == [(5.0, 0.0)]
    before, after = several.plan(0).choices
    assert (before.activation, before.exit) == (None, 0 if first is None else 1)
    assert (after.entry, after.activation) == (before.exit, Activation("relu"))
    one = solve(chain, listed, latency, importance, inner_merges=False)
    assert [(p.latency_ms, p.cost) for p in one.points] == [(5.0, 2.0), (53.0, 0.0)]


def test_all_states_of_the_last_position_lead_to_the_end() -> None:
    chain = chain_of(["relu", None])
    last = kept_blocks(chain)[1]
    ended = Candidate(1, 2, "merge", last.operators, Activation("relu"), "1", exit=1)
    listed = [kept_blocks(chain)[0], ended]
    latency, importance = tables(np.random.default_rng(0), chain, listed)
    assert solve(chain, listed, latency, importance).plan(0).choices == tuple(listed)


def test_candidates_that_agree_on_no_state_are_refused() -> None:
    chain = chain_of(["relu", "relu"])
    blocks = kept_blocks(chain)
    listed = [blocks[0], replace(blocks[1], entry=1)]
    latency, importance = tables(np.random.default_rng(0), chain, listed)
    with pytest.raises(
        UsageError, match="candidates lead from the start to position 1 in state 0, but none"
    ):
        solve(chain, listed, latency, importance)


def test_a_plan_that_is_best_only_through_a_slower_candidate_is_found() -> None:
    """Keeping has a cost of its own, and the merge, slower than its blocks, has none."""
    chain = chain_of([None, "relu"])
    listed = candidates(chain, kinds=("merge",), fewer_macs=False)
    (merge,) = (c for c in listed if c.replaces)
    latency, _ = tables(np.random.default_rng(0), chain, listed)
    entries = {
        key: replace(entry, median_ms=9.0 if key.operator == merge.convolution else 1.0)
        for key, entry in latency.entries.items()
    }
    latency = replace(latency, entries=entries)
    costs = {c: Importance(0.0 if c == merge else 1.0) for c in listed}
    importance = ImportanceTable("net", "finetune", 16, costs)
    assert merge not in worthwhile(chain, listed, latency)
    all_of_them = worthwhile(chain, listed, latency, keeping_is_free=False)
    assert all_of_them == listed
    frontier = solve(chain, all_of_them, latency, importance, inner_merges=False)
    assert frontier.plan(len(frontier.points) - 1).choices == (merge,)
    assert frontier.points[-1].cost == 0.0


def test_another_state_is_not_dropped_for_being_as_slow_as_its_block() -> None:
    chain = chain_of(["relu", None, "relu", "relu"])
    listed = candidates(
        chain, kinds=("merge",), fewer_macs=False, inserted="relu", end_activations=True
    )
    latency, _ = tables(np.random.default_rng(0), chain, listed)
    assert set(worthwhile(chain, listed, latency)) == set(listed)
