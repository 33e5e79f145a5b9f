"""What runs because of a candidate, and what that takes."""

from collections.abc import Iterator

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain, Skip
from depthopt.core.operators import Identity
from depthopt.core.shapes import Pair
from depthopt.errors import TableError
from depthopt.tables.latency import LatencyKey, LatencyTable


def latency_keys(chain: Chain, candidate: Candidate) -> tuple[LatencyKey, ...]:
    """Everything that runs because of ``candidate``: itself, and what it leaves in place.

    The residual adds at the candidate's end, and the branches of those skips, are
    counted with the candidate: every plan has exactly one segment that ends there, or one
    that covers the skip and removes both.
    """
    start, end = candidate.start, candidate.end
    if candidate.kind == "keep":
        # A one-block skip is covered by its own block, whose add nevertheless stays.
        adds = chain.skips_to(end)
        fused = tuple(skip for skip in adds if skip.ending is None)
        later = tuple(skip for skip in adds if skip.ending is not None)
        layout = chain.blocks[start].layout
        sum_, output_size = Identity(layout.out_channels), layout.output_size
    else:
        fused, later = chain.open_skips(start, end), chain.later_skips(start, end)
        ending = chain.ending(start, end)
        sum_, output_size = Identity(ending.channels), ending.size
    keys = list(_own_keys(chain, candidate, sum_, output_size, residual=bool(fused)))
    keys += [LatencyKey(sum_, output_size, residual=True)] * (len(fused) - 1)
    for behind in (skip.ending for skip in later if skip.ending is not None):
        keys.append(LatencyKey(Identity(behind.channels), behind.size, behind.activation, True))
    for skip in (*fused, *later):
        keys += _branch_keys(chain, skip)
    return tuple(keys)


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


def _own_keys(
    chain: Chain, candidate: Candidate, sum_: Identity, output_size: Pair, *, residual: bool
) -> Iterator[LatencyKey]:
    """What the candidate itself runs."""
    activation = candidate.activation
    if not candidate.operators:
        if activation is not None or residual:
            yield LatencyKey(sum_, output_size, activation, residual)
        return
    size = chain.blocks[candidate.start].layout.input_size
    if candidate.kind == "drop":
        (skip,) = (s for s in chain.skips_to(candidate.end) if s.source == candidate.start)
        *pools, own = _branch_keys(chain, skip)
        yield from pools
        size = own.input_size
    *first, last = candidate.operators
    for operator in first:
        yield LatencyKey(operator, size)
        size = operator.output_size(size)
    yield LatencyKey(last, size, activation, residual)


def _branch_keys(chain: Chain, skip: Skip) -> Iterator[LatencyKey]:
    """What runs on a skip."""
    for layer, size in chain.branch_layers(skip):
        yield LatencyKey(layer.operator, size)
