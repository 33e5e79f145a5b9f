"""Small random chains whose plans can all be written out, and the best of them."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Block, Chain, Layout, Skip
from depthopt.core.operators import Activation, Convolution
from depthopt.kinds.latency_keys import latency_keys
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import (
    LatencySummary,
    LatencyTable,
    NetworkKey,
    NetworkLatency,
)
from tests.frontier.tables import CONDITIONS

RELU = Activation("relu")
Plan = tuple[Candidate, ...]


def random_chain(random: np.random.Generator) -> Chain:
    """3 to 5 blocks of few channels, some that halve the size, with skips where they fit."""
    count = int(random.integers(3, 6))
    channels = [int(c) for c in random.choice([2, 4], count + 1)]
    sizes, blocks = [32], []
    for i, (before, behind) in enumerate(pairwise(channels)):
        stride = int(random.choice([1, 1, 2]))
        sizes.append(sizes[-1] // stride)
        operator = Convolution(before, behind, (3, 3), (stride,) * 2, (1, 1, 1, 1))
        layout = Layout(before, (sizes[i],) * 2, behind, (sizes[i + 1],) * 2)
        activation = RELU if random.random() < 0.3 else None
        names = (f"x{i}", f"linear{i}", f"sum{i}", f"x{i + 1}")
        blocks.append(Block(f"b{i}", operator, layout, activation, *names))
    same = [
        (s, t)
        for s in range(count)
        for t in range(s + 1, min(s + 3, count) + 1)
        if (channels[s], sizes[s]) == (channels[t], sizes[t])
    ]
    skips = [Skip(*same[k], "add", "operand") for k in random.permutation(len(same))[:1]]
    return Chain("net", (2, 32, 32), tuple(blocks), tuple(skips), (), ())


def random_fits(random: np.random.Generator, chain: Chain) -> list[Candidate]:
    """Every block as it is; dense and depthwise fits, 1x1 ones and others."""
    found = list(kept_blocks(chain))
    for start, end in chain.segments(3):
        first, last = chain.blocks[start].layout, chain.blocks[end - 1]
        stride = first.input_size[0] // last.layout.output_size[0]
        for size, groups in product((1, 3), (1, first.in_channels)):
            if groups > 1 and first.in_channels != last.layout.out_channels:
                continue
            if random.random() < 0.5:
                one = Convolution(
                    first.in_channels,
                    last.layout.out_channels,
                    (size, size),
                    (stride, stride),
                    (size // 2,) * 4,
                    groups=groups,
                )
                found.append(Candidate(start, end, "fit", (one,), last.activation))
    return found


def one_of(chain: Chain, first: Candidate, second: Candidate) -> Candidate | None:
    """What computes the same as both, in the words of ``depthopt.kinds.chained``."""
    if (first.kind, second.kind) != ("fit", "fit") or first.activation is not None:
        return None
    before, behind = first.convolution, second.convolution
    read_elsewhere = any(
        (skip.target == first.end and skip.source < first.start)
        or (skip.source == first.end and skip.target > second.end)
        or (skip.target == second.end and skip.source < second.start)
        for skip in chain.skips
    )
    middle, last = (chain.blocks[c.end - 1].layout for c in (first, second))
    grows = behind.out_channels * last.output_size[0] ** 2 > (
        before.out_channels * middle.output_size[0] ** 2
    )
    depthwise = before.groups > 1 and behind.groups == 1 < behind.in_channels
    if behind.kernel_size != (1, 1) or read_elsewhere or grows or depthwise:
        return None
    stride = before.stride[0] * behind.stride[0]
    groups = min(before.groups, behind.groups)
    one = replace(before, out_channels=behind.out_channels, stride=(stride,) * 2, groups=groups)
    return replace(second, start=first.start, operators=(one,))


def as_run(chain: Chain, plan: Plan) -> Plan:
    """What runs of a plan: fits joined from left to right."""
    found = plan[:1]
    for choice in plan[1:]:
        one = one_of(chain, found[-1], choice)
        found = (*found, choice) if one is None else (*found[:-1], one)
    return found


def plans(candidates: list[Candidate], end: int, start: int = 0) -> list[Plan]:
    if start == end:
        return [()]
    return [
        (c, *rest) for c in candidates if c.start == start for rest in plans(candidates, end, c.end)
    ]


def problem(
    random: np.random.Generator,
) -> tuple[Chain, list[Candidate], LatencyTable, ImportanceTable, list[Plan]]:
    """A chain, its candidates, tables with whole numbers that hold all that runs, its plans."""
    chain = random_chain(random)
    candidates = random_fits(random, chain)
    every = plans(candidates, len(chain.blocks))
    listed = [*candidates, *(c for plan in every for c in as_run(chain, plan))]
    keys = dict.fromkeys(key for c in listed for key in latency_keys(chain, c))
    whole = LatencySummary(40.0, 40.0, 40.0, 5)
    latency = LatencyTable(
        CONDITIONS,
        {key: replace(whole, median_ms=float(random.integers(1, 9))) for key in keys},
        {NetworkKey.of(chain): NetworkLatency(whole, 3.0)},
    )
    costs = {c: Importance(float(random.integers(0, 6))) for c in candidates if c.kind != "keep"}
    return chain, candidates, latency, ImportanceTable("net", "regression", 16, costs), every


def cost_of(plan: Plan, importance: ImportanceTable) -> float:
    return sum(importance.entries[c].cost for c in plan if c.kind != "keep")


def pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    best: list[tuple[float, float]] = []
    for ms, cost in sorted(points):
        if not best or cost < best[-1][1]:
            best.append((ms, cost))
    return best


def ms_of(chain: Chain, plan: Plan, latency: LatencyTable) -> float:
    return latency.sum_ms(key for c in as_run(chain, plan) for key in latency_keys(chain, c))
