"""What runs because of a candidate, and what that takes."""

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.errors import TableError
from depthopt.kinds.registry import kind_of
from depthopt.tables.latency import LatencyKey, LatencyTable


def latency_keys(chain: Chain, candidate: Candidate) -> tuple[LatencyKey, ...]:
    """Everything that runs because of ``candidate``: itself, and what it leaves in place.

    Raises:
        UsageError: its kind is not known.
    """
    return kind_of(candidate).latency_keys(chain, candidate)


def candidate_ms(chain: Chain, candidate: Candidate, table: LatencyTable) -> float:
    """Milliseconds that ``candidate`` takes, with the adds that it leaves in place.

    Raises:
        TableError: an entry is missing.
    """
    keys = latency_keys(chain, candidate)
    if gap := table.missing(keys):
        raise TableError(f"latency table has no entry for {gap[0]} ({candidate.key})")
    return table.sum_ms(keys)


def parameters(chain: Chain, candidate: Candidate) -> int:
    """Weights and biases that run because of ``candidate``, branches of skips included."""
    return sum(key.operator.parameters for key in latency_keys(chain, candidate))
