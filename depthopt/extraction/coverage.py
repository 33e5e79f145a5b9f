"""How much of a network could be made shallower."""

from depthopt.core.chain import Chain
from depthopt.extraction.candidates import branch_macs

LONGEST = 32
"""Blocks of the longest segment that is looked at."""


def reducible_share(chain: Chain, *, merging: bool = False) -> float:
    """The share of all convolutions' multiply-accumulates in legal segments longer than one.

    Projections count with the segments that cover their skips; norms that stand alone do
    not count.

    Args:
        chain: the network.
        merging: count only the segments whose convolutions merge into one, not those that
            are replaced as a whole.
    """
    inside, covered = set[int](), set[int]()
    for start, end in chain.segments(LONGEST):
        if end - start > 1 and not (merging and chain.why_unmergeable(start, end)):
            inside.update(range(start, end))
            covered.update(
                i for i, s in enumerate(chain.skips) if start <= s.source and s.target <= end
            )
    blocks = [chain.blocks[i] for i in inside if not chain.blocks[i].spec.is_scaling]
    skips = [s for i, s in enumerate(chain.skips) if i in covered]
    macs = sum(block.spec.macs(block.input_size) for block in blocks)
    macs += sum(
        branch_macs(chain, skip)
        for skip in skips
        if skip.projection is not None and not skip.projection.is_scaling
    )
    return macs / max(chain.conv_macs, 1)
