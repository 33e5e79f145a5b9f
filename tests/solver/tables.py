"""Random options that look like a chain's tables."""

import numpy as np

from depthopt.solver.options import Options


def whole_numbers(random: np.random.Generator, blocks: int, extra: int) -> Options:
    """Small whole latencies and costs: ties, equal costs and zero costs abound."""
    start = np.r_[np.arange(blocks), random.integers(0, blocks, extra)]
    end = np.r_[np.arange(blocks) + 1, np.zeros(extra, np.int64)]
    for k in range(blocks, blocks + extra):
        end[k] = random.integers(start[k] + 1, blocks + 1)
    is_keep = np.arange(blocks + extra) < blocks
    order = random.permutation(blocks + extra)
    return Options.of(
        blocks + 1,
        start=start[order],
        end=end[order],
        latency_ms=np.where(is_keep, random.integers(2, 7), random.integers(0, 7, is_keep.size))[
            order
        ],
        cost=np.where(is_keep, 0, random.integers(-1, 6, is_keep.size))[order],
        touched=np.where(is_keep, 0, end - start)[order],
    )


def realistic(
    random: np.random.Generator, blocks: int, candidates: int, longest: int = 8
) -> Options:
    """One ``keep`` per block, and faster segments whose cost grows with their length."""
    base = random.lognormal(-1.2, 0.6, blocks)
    start = np.r_[np.arange(blocks), random.integers(0, blocks, candidates - blocks)]
    length = np.minimum(random.integers(1, longest + 1, candidates), blocks - start)
    length[:blocks] = 1
    before = np.r_[0.0, np.cumsum(base)]
    latency = (before[start + length] - before[start]) * random.uniform(0.1, 1, candidates)
    latency[:blocks] = base
    cost = random.lognormal(-1, 1, candidates) * length**1.2 * 0.05
    cost[:blocks] = 0
    return Options.of(
        blocks + 1,
        start=start,
        end=start + length,
        latency_ms=latency,
        cost=cost,
        touched=np.where(np.arange(candidates) < blocks, 0, length),
    )


def rows(options: Options) -> list[tuple[int, int, float, float, int]]:
    """As the reference takes them."""
    return list(
        zip(
            options.start.tolist(),
            options.end.tolist(),
            options.latency_ms.tolist(),
            options.cost.tolist(),
            options.touched.tolist(),
            strict=True,
        )
    )
