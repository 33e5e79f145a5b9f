"""The operators that run because of a candidate: its own, and those it leaves in place.

The residual adds at a segment's end, and the branches of those skips, are counted with the
candidate: every plan has exactly one segment that ends there, or one that covers the skip and
removes both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain, Skip
from depthopt.core.operators import Identity
from depthopt.core.shapes import Pair
from depthopt.tables.latency import LatencyKey


def replacing_keys(chain: Chain, candidate: Candidate) -> tuple[LatencyKey, ...]:
    """Keys of a candidate's operators in a segment's place, and of what runs behind them."""
    size = chain.blocks[candidate.start].layout.input_size
    return keys_at_end(chain, candidate, size)


def keys_at_end(
    chain: Chain, candidate: Candidate, input_size: Pair, before: Sequence[LatencyKey] = ()
) -> tuple[LatencyKey, ...]:
    """Keys of what runs in a replaced segment's place, given the input of its operators.

    Args:
        chain: the network.
        candidate: replaces the segment.
        input_size: (height, width) of what its operators read.
        before: what runs before them.
    """
    start, end = candidate.start, candidate.end
    fused, later = chain.open_skips(start, end), chain.later_skips(start, end)
    ending = chain.ending(start, end)
    sum_ = LatencyKey(Identity(ending.channels), ending.size, residual=bool(fused))
    own = _own_keys(candidate, input_size, sum_)
    return (*before, *own, *_left_in_place(chain, sum_, fused, later))


def kept_keys(chain: Chain, candidate: Candidate) -> tuple[LatencyKey, ...]:
    """Keys of a kept block. A skip over this block alone is covered, but its add stays."""
    layout, adds = chain.blocks[candidate.start].layout, chain.skips_to(candidate.end)
    fused = tuple(skip for skip in adds if skip.ending is None)
    later = tuple(skip for skip in adds if skip.ending is not None)
    sum_ = LatencyKey(Identity(layout.out_channels), layout.output_size, residual=bool(fused))
    own = _own_keys(candidate, layout.input_size, sum_)
    return (*own, *_left_in_place(chain, sum_, fused, later))


def branch_keys(chain: Chain, skip: Skip) -> Iterator[LatencyKey]:
    """Keys of what runs on a skip."""
    for layer, size in chain.branch_layers(skip):
        yield LatencyKey(layer.operator, size)


def _left_in_place(
    chain: Chain, sum_: LatencyKey, fused: Sequence[Skip], later: Sequence[Skip]
) -> Iterator[LatencyKey]:
    """The adds at a segment's end but for the first, which its operators take along, and branches.

    Args:
        chain: the network.
        sum_: one add at the segment's end.
        fused: the skips that are added before the segment's activation.
        later: those that are added behind it.
    """
    yield from [sum_] * (len(fused) - 1)
    for behind in (skip.ending for skip in later if skip.ending is not None):
        yield LatencyKey(Identity(behind.channels), behind.size, behind.activation, residual=True)
    for skip in (*fused, *later):
        yield from branch_keys(chain, skip)


def _own_keys(candidate: Candidate, input_size: Pair, sum_: LatencyKey) -> Iterator[LatencyKey]:
    """A candidate's operators, the last with the add and the activation behind it."""
    activation, residual = candidate.activation, sum_.residual
    if not candidate.operators:
        if activation is not None or residual:
            yield replace(sum_, activation=activation)
        return
    *first, last = candidate.operators
    for operator in first:
        yield LatencyKey(operator, input_size)
        input_size = operator.output_size(input_size)
    yield LatencyKey(last, input_size, activation, residual)
