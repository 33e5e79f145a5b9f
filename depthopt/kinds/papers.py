"""List the segments that the papers' code lists.

Both papers' code (https://github.com/snu-mllab/LayerMerge: ``valid_blks`` in
``layer_merge/kim24layermerge/generate_tables.py`` and, the same, in
``Efficient-CNN-Depth-Compression/models/model_op.py``) lists every segment that the skips allow, as
``Chain.segments`` does, but none that crosses one of its breaks (``str_pos``). A break lies behind
every strided convolution, and of a depthwise one behind the pointwise convolution that follows it,
so that behind a stride nothing but that is composed. The first convolution is strided, too: what
lies behind a stem never merges with it. Nor is the head's convolution part of any segment
("we do not consider merging the last conv"). LayerMerge's code also leaves out what would make a
segment nothing at all (``include_identity``).

So it has 391 rows of MobileNetV2, 341 of them of several blocks, and 150 and 118 of ResNet-34.
"""

from collections.abc import Iterator

from depthopt.core.chain import Block, Chain
from depthopt.core.operators import Convolution


def breaks(chain: Chain) -> frozenset[int]:
    """Positions besides barriers that segments of the papers' code do not cross."""
    blocks = chain.blocks
    found = set()
    for i, block in enumerate(blocks):
        if isinstance(block.operator, Convolution) and block.operator.stride != (1, 1):
            separable = block.operator.is_depthwise and i + 1 < len(blocks)
            found.add(i + 2 if separable and _is_pointwise(blocks[i + 1]) else i + 1)
    last = len(blocks) - 1
    if last > 0 and _is_pointwise(blocks[last]) and not any(s.target > last for s in chain.skips):
        found.add(last)
    return frozenset(found)


def published_segments(chain: Chain, max_length: int | None = None) -> Iterator[tuple[int, int]]:
    """The segments that the papers' code lists, of at most ``max_length`` blocks."""
    at = breaks(chain)
    for start, end in chain.segments(max_length):
        if not any(start < position < end for position in at):
            yield start, end


def _is_pointwise(block: Block) -> bool:
    operator = block.operator
    if not isinstance(operator, Convolution):
        return False
    return operator.kernel_size == (1, 1) and operator.stride == (1, 1) and operator.groups == 1
