"""Stage 1, inner boundaries: a segment as several convolutions without activations between.

Where a run of merged convolutions computes what one convolution over the whole segment
does, importance belongs to the segment and only latency decides between them. Merging
an expanding 1x1 into its neighbour, say, is often slower than leaving both.

Source: arXiv 2301.12187, Algorithm 1,
``T_opt[i, j] = min over k of (T_opt[i, k] + T[k, j])``.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthopt.solver.jit import jit
from depthopt.solver.kernels import Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Linear operators that may follow one another.

    Attributes:
        start: (pieces,) node before.
        end: (pieces,) node after.
        latency_ms: (pieces,) milliseconds.
        after: (pieces,) which activation follows, 0 for none. Only the last piece of a
            run may have one.
    """

    start: Ints
    end: Ints
    latency_ms: Floats
    after: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """The fastest run of pieces for each of some segments.

    Attributes:
        latency_ms: (segments,) its sum; inf where no run exists.
        pieces: the run's indices for each segment; empty where none exists.
    """

    latency_ms: Floats
    pieces: tuple[tuple[int, ...], ...]


def fastest_runs(
    nodes: int, pieces: Pieces, start: npt.ArrayLike, end: npt.ArrayLike, after: npt.ArrayLike
) -> Runs:
    """The fastest run of pieces over each segment ``[start, end)`` followed by ``after``.

    Of equally fast runs the one whose last piece is listed first is taken.
    """
    linear = np.flatnonzero(pieces.after == 0)
    linear = linear[np.argsort(pieces.end[linear], kind="stable")]
    total, last = _linear_runs(
        nodes, pieces.start[linear], pieces.end[linear], pieces.latency_ms[linear], linear
    )
    finals = defaultdict(list)
    for k, key in enumerate(zip(pieces.end.tolist(), pieces.after.tolist(), strict=True)):
        finals[key].append(k)
    segments = list(zip(*(np.asarray(x).tolist() for x in (start, end, after)), strict=True))
    latency = np.full(len(segments), np.inf)
    runs: list[tuple[int, ...]] = []
    for i, (s, e, a) in enumerate(segments):
        ending = np.array(finals.get((e, a), ()), np.int64)
        sums = total[s, pieces.start[ending]] + pieces.latency_ms[ending]
        if not np.isfinite(sums).any():
            runs.append(())
            continue
        best = int(np.argmin(sums))
        latency[i] = sums[best]
        run = [int(ending[best])]
        while pieces.start[run[-1]] > s:
            run.append(int(last[s, pieces.start[run[-1]]]))
        runs.append(tuple(reversed(run)))
    return Runs(latency, tuple(runs))


@jit
def _linear_runs(
    nodes: int, start: Ints, end: Ints, latency: Floats, index: Ints
) -> tuple[Floats, Ints]:
    """``T_opt`` between all pairs of nodes and the last piece of each; sorted by end."""
    total = np.full((nodes, nodes), np.inf)
    last = np.full((nodes, nodes), -1, np.int64)
    for i in range(nodes):
        total[i, i] = 0.0
        for k in range(start.size):
            through = total[i, start[k]] + latency[k]
            if through < total[i, end[k]]:
                total[i, end[k]] = through
                last[i, end[k]] = index[k]
    return total, last
