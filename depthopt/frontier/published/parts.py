"""The candidates that a solver needs besides those in a published importance file.

The 2023 method realises a merge as the fastest run of smaller ones with no activation
between them, of which only the whole is scored. Its tables time each segment once, with an
activation behind it; the parts of a run are taken to need as long.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import combinations

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.frontier.published.importances import DEPTH
from depthopt.frontier.published.places import whole
from depthopt.kinds.ends import usual_activation, with_ends
from depthopt.kinds.latency_keys import latency_keys
from depthopt.kinds.registry import is_part, kind_of
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable


def solvable(
    chain: Chain, latency: LatencyTable, importance: ImportanceTable
) -> tuple[Candidate, ...]:
    """All candidates of two tables: kept blocks, scored candidates, and what these need."""
    scored = list(importance.entries)
    more = _parts(chain, latency, scored) if importance.protocol.startswith(DEPTH) else ()
    return tuple(dict.fromkeys((*kept_blocks(chain), *scored, *more)))


def in_all_states(chain: Chain, start: int, end: int) -> Iterator[Candidate]:
    """A segment's convolutions composed, with and without an activation at either end."""
    usual = usual_activation(chain)
    composed = whole(chain, start, end)
    if usual is None:
        yield composed
    else:
        yield from with_ends(chain, composed, usual, parts=True)


def _parts(
    chain: Chain, latency: LatencyTable, scored: Collection[Candidate]
) -> Iterator[Candidate]:
    """What is timed, and only stands for a part; and blocks behind what changed their input."""
    known = {(c.start, c.entry, c.end, c.exit) for c in scored}
    wholes = {(c.start, c.end) for c in scored if kind_of(c).is_composition(c)}
    within = {pair for start, end in wholes for pair in combinations(range(start, end + 1), 2)}
    for start, end in sorted(within):
        if chain.why_unmergeable(start, end) is not None:
            continue
        for each in in_all_states(chain, start, end):
            is_new = is_part(each) and (each.start, each.entry, each.end, each.exit) not in known
            if is_new and not latency.missing(latency_keys(chain, each)):
                yield each
    begun = {(c.start, c.entry) for c in scored}
    for end, state in sorted({(c.end, c.exit) for c in scored if c.exit}):
        if end < len(chain.blocks) and (end, state) not in begun:
            yield replace(kept_blocks(chain)[end], entry=state)
