"""Small chains, candidates and tables for the solver, and a plan's figures recomputed."""

import math
from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Block, Chain, Skip
from depthopt.core.operators import Convolution
from depthopt.kinds.latency_keys import latency_keys
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import (
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkLatency,
    network_key,
)

CONDITIONS = MeasurementConditions("a device", "onnxruntime", "1", 1, "float32", 1)
SIZE = (8, 8)


def chain_of(activations: Sequence[str | None], skips: Sequence[tuple[int, int]] = ()) -> Chain:
    """Blocks ``b0``, ``b1``, ... of 3x3 convolutions with distinct widths per skip's span."""
    blocks = []
    for i, activation in enumerate(activations):
        spec = Convolution(4, 4, (3, 3), padding=(1, 1, 1, 1))
        names = {
            field.name: f"{field.name}{i}" for field in fields(Block) if field.type in {"str", str}
        }
        values = {"spec": spec, "input_size": SIZE, "output_size": SIZE, "activation": activation}
        blocks.append(Block(**(names | {"name": f"b{i}"} | values)))
    edges = tuple(Skip(source, target, f"add{target}", f"n{source}") for source, target in skips)
    return Chain("net", (3, 8, 8), tuple(blocks), edges, (), ())


def random_chain(random: np.random.Generator, blocks: int) -> Chain:
    """Skips that nest or lie side by side; some blocks without an activation."""
    activations = [str(a) if a else None for a in random.choice(["relu", ""], blocks)]
    skips: list[tuple[int, int]] = []
    for _ in range(blocks // 2):
        source = int(random.integers(0, blocks - 1))
        target = int(random.integers(source + 1, min(blocks, source + 3) + 1))
        crosses = any(s < source < t < target or source < s < target < t for s, t in skips)
        if not crosses and (source, target) not in skips:
            skips.append((source, target))
    return chain_of(activations, skips)


def random_candidates(random: np.random.Generator, chain: Chain) -> list[Candidate]:
    """Every ``keep``; of legal segments some fits, drops, merges, also without activation."""
    found = [
        Candidate(i, i + 1, "keep", block.spec, block.activation)
        for i, block in enumerate(chain.blocks)
    ]
    for start, end in chain.segments(4):
        last = chain.blocks[end - 1].activation
        size = 2 * (end - start) + 1
        spec = Convolution(4, 4, (size, size), padding=(end - start,) * 4)
        if random.random() < 0.5:
            found.append(Candidate(start, end, "fit", Convolution(4, 4, (1, 1)), last))
        if random.random() < 0.5 and chain.covered(start, end):
            found.append(Candidate(start, end, "drop", None, last))
        for activation in {last, None}:
            if random.random() < 0.6:
                kept = tuple(range(start, end))
                found.append(Candidate(start, end, "merge", spec, activation, kept))
    return found


def tables(
    random: np.random.Generator, chain: Chain, candidates: Sequence[Candidate]
) -> tuple[LatencyTable, ImportanceTable]:
    """Small whole latencies and costs, so that ties abound; fixed part 3 ms."""
    entries = {}
    for candidate in candidates:
        for key in latency_keys(chain, candidate):
            ms = float(random.integers(1, 9))
            entries.setdefault(str(key), LatencySummary(ms, ms, ms, 5))
    total = LatencySummary(40.0, 40.0, 40.0, 5)
    networks = {network_key(chain): NetworkLatency(total, 3.0)}
    costs = {
        c.key: Importance(
            float(random.integers(0, 6)), accuracy_change=-float(random.integers(0, 4))
        )
        for c in candidates
        if c.kind != "keep"
    }
    return (
        LatencyTable(CONDITIONS, entries, networks),
        ImportanceTable("net", "fit", 16, costs),
    )


def naive_options(
    chain: Chain,
    candidates: Sequence[Candidate],
    latency: LatencyTable,
    cost: dict[int, float],
) -> list[tuple[int, int, float, float, int]]:
    """Candidates, and merges realised as every possible run of linear pieces."""
    ms = [latency.candidate_ms(chain, candidate) for candidate in candidates]
    options = [
        (c.start, c.end, ms[k], cost[k], 0 if c.kind == "keep" else c.end - c.start)
        for k, c in enumerate(candidates)
    ]
    pieces = [k for k, c in enumerate(candidates) if c.kind in {"keep", "merge"}]

    def fastest(start: int, end: int, activation: str | None) -> float:
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
