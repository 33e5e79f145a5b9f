"""Runs of a transformer's blocks that are alike: the same branches, again and again."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from depthopt.core.chain import Block, Chain
from depthopt.core.operators import Operator, reads_tokens

_LONGEST = 4
"""Maximum branches of a transformer's block."""


def alike_runs(chain: Chain) -> Iterator[tuple[int, int, int]]:
    """The longest runs of alike blocks: (first branch, branches of a block, blocks)."""
    start, last = 0, len(chain.blocks)
    while start < last:
        for branches in range(1, _LONGEST + 1):
            if (blocks := repeats(chain, start, branches)) > 1:
                yield start, branches, blocks
                start += branches * blocks
                break
        else:
            start += 1


def repeats(chain: Chain, start: int, branches: int) -> int:
    """How often the first few branches from a position on come one behind another.

    Nothing else may lie between them, such as attention that is not a block.
    """
    shapes = [_shape(block) for block in _in_a_row(chain.blocks[start:])]
    if not all(reads_tokens(operator) for operator, _ in shapes[:branches]):
        return 0
    times = 1
    while shapes[times * branches : (times + 1) * branches] == shapes[:branches]:
        times += 1
    return times


def _in_a_row(blocks: Sequence[Block]) -> Iterator[Block]:
    """The blocks up to the first that reads something else than what the one before it gives."""
    yield from blocks[:1]
    for before, block in pairwise(blocks):
        if block.input != before.output:
            return
        yield block


def _shape(block: Block) -> tuple[Operator, object]:
    return block.operator, block.layout


def ends_of_blocks(chain: Chain) -> tuple[int, ...]:
    """The positions behind all blocks that are alike to one beside them."""
    return tuple(
        end
        for begin, branches, blocks in alike_runs(chain)
        for end in range(begin + branches, begin + branches * blocks + 1, branches)
    )
