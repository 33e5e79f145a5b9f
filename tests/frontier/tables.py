"""Random candidates of small chains, tables of them, and a plan's figures recomputed."""

import math
from collections.abc import Sequence

import numpy as np

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.operators import Activation, Convolution
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.kinds.merge import detail_of
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import (
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
    NetworkLatency,
)

CONDITIONS = MeasurementConditions("a device", "onnxruntime", "1", 1, "float32", 1)


def random_candidates(random: np.random.Generator, chain: Chain) -> list[Candidate]:
    """Every ``keep``; of legal segments some fits, drops, merges, also without activation."""
    found = list(kept_blocks(chain))
    for start, end in chain.segments(4):
        last = chain.blocks[end - 1].activation
        size = 2 * (end - start) + 1
        merged = Convolution(4, 4, (size, size), padding=(end - start,) * 4)
        if random.random() < 0.5:
            found.append(Candidate(start, end, "fit", (Convolution(4, 4, (1, 1)),), last))
        if random.random() < 0.5 and chain.covered(start, end):
            found.append(Candidate(start, end, "drop", (), last))
        for activation in {last, None}:
            if random.random() < 0.6:
                detail = detail_of(range(start, end))
                found.append(Candidate(start, end, "merge", (merged,), activation, detail))
    return found


def tables(
    random: np.random.Generator, chain: Chain, candidates: Sequence[Candidate]
) -> tuple[LatencyTable, ImportanceTable]:
    """Small whole latencies and costs, so that ties abound; fixed part 3 ms."""
    entries = {}
    for candidate in candidates:
        for key in latency_keys(chain, candidate):
            ms = float(random.integers(1, 9))
            entries.setdefault(key, LatencySummary(ms, ms, ms, 5))
    total = LatencySummary(40.0, 40.0, 40.0, 5)
    networks = {NetworkKey.of(chain): NetworkLatency(total, 3.0)}
    costs = {
        c: Importance(float(random.integers(0, 6)), metric_change=-float(random.integers(0, 4)))
        for c in candidates
        if c.kind != "keep"
    }
    return (
        LatencyTable(CONDITIONS, entries, networks),
        ImportanceTable("net", "regression", 16, costs),
    )


def naive_options(
    chain: Chain,
    candidates: Sequence[Candidate],
    latency: LatencyTable,
    cost: dict[int, float],
) -> list[tuple[int, int, float, float, int]]:
    """Candidates, and merges realised as every possible run of linear pieces."""
    ms = [candidate_ms(chain, candidate, latency) for candidate in candidates]
    options = [
        (c.start, c.end, ms[k], cost[k], 0 if c.kind == "keep" else c.end - c.start)
        for k, c in enumerate(candidates)
    ]
    pieces = [k for k, c in enumerate(candidates) if c.kind in {"keep", "merge"}]

    def fastest(start: int, end: int, activation: Activation | None) -> float:
        if start == end:
            return 0.0
        return min(
            (
                fastest(start, candidates[k].start, None) + ms[k]
                for k in pieces
                if candidates[k].end == end
                and candidates[k].start >= start
                and candidates[k].activation == activation
            ),
            default=math.inf,
        )

    for k, c in enumerate(candidates):
        if c.kind == "merge":
            best = fastest(c.start, c.end, c.activation)
            options.append((c.start, c.end, best, cost[k], c.end - c.start))
    return options
