"""Choose the candidates that a latency table shows to be worth a closer look."""

import math
from collections.abc import Iterable

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.kinds.registry import is_part, kind_of
from depthopt.tables.latency import LatencyTable


def worthwhile(
    chain: Chain,
    candidates: Iterable[Candidate],
    table: LatencyTable,
    *,
    keeping_is_free: bool = True,
) -> tuple[Candidate, ...]:
    """The kept blocks, and the candidates that may be in a plan of the frontier.

    Candidates that could not be measured never are. Of the others, where keeping blocks costs
    nothing, only those may be that are faster than the blocks: keeping these is as fast and costs
    no more. That holds of candidates that begin and end as the original does; another state can
    only be reached and left by candidates of its own. Nor does it hold of a merge where the parts
    are listed that it may be realised as, which may be faster. A branch with fewer channels is
    worth it only where it is faster than every wider one.

    One that is slower than the blocks and reads fewer weights is left out, though with footprints
    it might pay by what it saves the others.

    Args:
        chain: the network.
        candidates: one ``keep`` per block among them.
        table: holds an entry for every block.
        keeping_is_free: whether a kept block costs nothing. Where it has an importance of its own,
            a plan may be best by a candidate that is slower than its blocks.
    """
    listed = tuple(candidates)
    has_parts = any(map(is_part, listed))
    kept_ms = {c.start: candidate_ms(chain, c, table) for c in listed if not c.replaces}

    def is_worthwhile(candidate: Candidate) -> bool:
        if not candidate.replaces:
            return True
        if table.missing(latency_keys(chain, candidate)):
            return False
        if not keeping_is_free or (candidate.entry, candidate.exit) != (0, 0):
            return True
        if has_parts and kind_of(candidate).is_composition(candidate):
            return True
        blocks_ms = sum(kept_ms[block] for block in range(candidate.start, candidate.end))
        return candidate_ms(chain, candidate, table) < blocks_ms

    return _faster_than_wider(chain, filter(is_worthwhile, listed), table)


def _faster_than_wider(
    chain: Chain, candidates: Iterable[Candidate], table: LatencyTable
) -> tuple[Candidate, ...]:
    """Those of which no wider one, of the same kind and segment, is as fast."""
    listed = {c: kind_of(c).width(chain, c) for c in candidates}
    fastest: dict[tuple[str, int, int], float] = {}
    slow = set[Candidate]()
    for c in sorted((c for c in listed if listed[c] < 1), key=listed.__getitem__, reverse=True):
        ms, before = candidate_ms(chain, c, table), fastest.get((c.kind, c.start, c.end), math.inf)
        if ms >= before:
            slow.add(c)
        fastest[c.kind, c.start, c.end] = min(ms, before)
    return tuple(c for c in listed if c not in slow)
