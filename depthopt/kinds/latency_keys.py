"""The table entries that run because of a candidate, and how long these take."""

from collections.abc import Sequence

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.errors import TableError
from depthopt.kinds.chained import as_fused, running
from depthopt.kinds.registry import kind_of
from depthopt.tables.latency import LatencyKey, LatencyTable


def latency_keys(chain: Chain, candidate: Candidate) -> tuple[LatencyKey, ...]:
    """Keys of all that runs because of ``candidate``: itself, and what it leaves in place.

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


def held_ms(chain: Chain, candidate: Candidate, table: LatencyTable) -> float | None:
    """Milliseconds that ``candidate`` takes. None if an entry is missing."""
    if table.missing(latency_keys(chain, candidate)):
        return None
    return candidate_ms(chain, candidate, table)


def plan_ms(chain: Chain, choices: Sequence[Candidate], table: LatencyTable) -> float:
    """Milliseconds of a plan's choices, without the part of the network that none changes.

    Fits in a row that ``fuse`` joins take what the one convolution takes; where the table lacks
    that, what they take one by one.

    Raises:
        TableError: an entry is missing.
    """
    groups, ones = as_fused(chain, choices), running(chain, choices)
    return sum(
        joined
        if len(group) > 1 and (joined := held_ms(chain, one, table)) is not None
        else sum(candidate_ms(chain, choice, table) for choice in group)
        for group, one in zip(groups, ones, strict=True)
    )


def network_ms(chain: Chain, choices: Sequence[Candidate], table: LatencyTable) -> float:
    """Milliseconds of the whole network that a plan's choices make.

    Raises:
        TableError: an entry is missing, or the network.
    """
    network = table.network(chain)
    factor = network.factor(plan_parameters_read(chain, choices))
    return factor * (network.fixed_ms + plan_ms(chain, choices, table))


def parameters(chain: Chain, candidate: Candidate) -> int:
    """Weights and biases that run because of ``candidate``, branches of skips included."""
    return sum(key.operator.parameters for key in latency_keys(chain, candidate))


def parameters_read(chain: Chain, candidate: Candidate) -> int:
    """Those of ``parameters`` that an inference reads: none that only meet padding."""
    return sum(key.parameters_read for key in latency_keys(chain, candidate))


def plan_parameters_read(chain: Chain, choices: Sequence[Candidate]) -> int:
    """Weights and biases that an inference reads in a plan's choices, joined fits as one."""
    return sum(parameters_read(chain, one) for one in running(chain, choices))
