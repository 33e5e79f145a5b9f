"""Which candidates a latency table leaves worth a closer look."""

from collections.abc import Iterable

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.kinds.latency_keys import candidate_ms, latency_keys
from depthopt.tables.latency import LatencyTable


def worthwhile(
    chain: Chain, candidates: Iterable[Candidate], table: LatencyTable
) -> tuple[Candidate, ...]:
    """The blocks as they are, and the candidates that are faster than what they replace.

    The others can be in no plan of the frontier: keeping the blocks is as fast and costs
    nothing. Candidates that could not be measured are left out too.

    Args:
        chain: the network.
        candidates: one ``keep`` per block among them.
        table: holds an entry for every block.
    """
    listed = tuple(candidates)
    kept_ms = {c.start: candidate_ms(chain, c, table) for c in listed if not c.replaces}
    return tuple(
        candidate
        for candidate in listed
        if not candidate.replaces
        or (
            not table.missing(latency_keys(chain, candidate))
            and candidate_ms(chain, candidate, table)
            < sum(kept_ms[block] for block in range(candidate.start, candidate.end))
        )
    )
