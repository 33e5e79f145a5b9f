"""The 2023 paper's extension: costs of merges, estimated from the costs of their parts."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from depthopt.core.candidate import Candidate
from depthopt.core.operators import Activation
from depthopt.kinds.registry import kind_of


def extended(
    candidates: Sequence[Candidate], chosen: Iterable[int], costs: Sequence[float]
) -> list[float]:
    """The costs. A merge of a whole segment costs as a run of its parts, if that costs less.

    A run lies end to end over the merge's segment, begins in its entry state, ends in its exit
    state and with its activation, and has no activation in between: it is the same function as
    the merge, and its cost another guess of what that loses. Its parts are merges of all their
    convolutions, or kept blocks. This is ``I_ext`` of the two-stage programme (ICML 2023,
    https://arxiv.org/abs/2301.12187, appendix B, algorithm 3; the authors'
    ``generate_ext_imp_table``): the best of an entry of a segment's own and of any split at a
    position without an activation.

    What runs in the segment is chosen apart from it: ``frontier.solve`` takes the fastest merges
    that make it up (``T_opt``, the paper's algorithm 1), which need not be the parts. With both,
    the exact frontier holds the programme's optimum at every budget.

    Args:
        candidates: all.
        chosen: indices of those that may be used.
        costs: of all.
    """
    parts = [k for k in chosen if kind_of(candidates[k]).is_composition(candidates[k])]
    parts.sort(key=lambda k: candidates[k].end)
    wholes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for k in parts:
        if candidates[k].replaces:
            wholes[candidates[k].start, candidates[k].entry].append(k)
    found = list(costs)
    for origin, members in wholes.items():
        least = _least_runs(candidates, parts, costs, origin)
        for k in members:
            c = candidates[k]
            found[k] = least[c.end, c.exit, c.activation]
    return found


def _least_runs(
    candidates: Sequence[Candidate],
    parts: Sequence[int],
    costs: Sequence[float],
    origin: tuple[int, int],
) -> dict[tuple[int, int, Activation | None], float]:
    """The least cost of a run of parts from a position and state to (position, state, activation).

    Args:
        candidates: all.
        parts: indices of those that runs may hold, by where they end.
        costs: of all.
        origin: where runs begin.
    """
    least: dict[tuple[int, int, Activation | None], float] = defaultdict(lambda: math.inf)
    least[*origin, None] = 0.0
    for k in parts:
        c = candidates[k]
        if (before := least.get((c.start, c.entry, None))) is not None:
            node = c.end, c.exit, c.activation
            least[node] = min(least[node], before + costs[k])
    return least
