"""How much of a network could be made shallower."""

from depthopt.core.chain import Chain
from depthopt.core.operators import Convolution, Operator, reads_tokens

LONGEST = 32
"""Longest segment that is considered, in blocks."""


def reducible_share(chain: Chain, *, merging: bool = False) -> float:
    """The share of multiply-accumulates that lie in legal segments longer than one block.

    A transformer's branch counts alone, too, as it can be dropped. Projections count with the
    segments that cover their skips; norms that stand alone do not count.

    Args:
        chain: the network.
        merging: count only the segments whose convolutions merge into one, not those that
            are replaced as a whole.
    """
    inside, covered, crossed = set[int](), set[int](), set[int]()
    for start, end in chain.segments(LONGEST):
        several = end - start > 1 or reads_tokens(chain.blocks[start].operator)
        if several and not (merging and chain.why_unmergeable(start, end)):
            inside.update(range(start, end))
            crossed.update(range(start + 1, end))
            covered.update(
                i for i, s in enumerate(chain.skips) if start <= s.source and s.target <= end
            )
    blocks = [chain.blocks[i] for i in inside if not _is_scaling(chain.blocks[i].operator)]
    macs = sum(block.macs for block in blocks)
    macs += sum(barrier.macs for barrier in chain.barriers if barrier.position in crossed)
    macs += sum(chain.skips[i].macs for i in covered)
    macs += sum(
        chain.branch_macs(skip)
        for skip in (chain.skips[i] for i in covered)
        if not any(_is_scaling(layer.operator) for layer in skip.branch)
    )
    return macs / max(chain.conv_macs + chain.other_macs, 1)


def untimed_share(chain: Chain) -> float:
    """The share of multiply-accumulates that go with segments, but are no block's.

    They are those of linear layers and attention around blocks that are replaced as a whole. A
    latency table does not know their time: plans without them are faster than it says.
    """
    macs = sum(skip.macs for skip in chain.skips)
    macs += sum(barrier.macs for barrier in chain.barriers if barrier.region is not None)
    return macs / max(chain.conv_macs + chain.other_macs, 1)


def _is_scaling(operator: Operator) -> bool:
    return isinstance(operator, Convolution) and operator.is_scaling
