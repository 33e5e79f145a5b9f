"""Kept convolutions regressed anew, to make up for what was replaced before them.

A shallow network's tensors differ from the original's behind the first replacement, and
the differences pile up. Every kept convolution behind it is therefore drawn to the weight
that brings the tensor at its block's end back to the original's:
``min |X W - Y|^2 + ridge |W - W0|^2`` over calibration images, with X what it sees now and
W0 the weight that it has. No labels are needed and nothing is trained.
"""

from torch import fx, nn

from depthopt.core.chain import Block, Chain
from depthopt.graph.replay import Replay
from depthopt.graph.trace import nodes_by_name
from depthopt.rewrite.affine import folded
from depthopt.rewrite.normed import own_lengths, set_weights
from depthopt.rewrite.pairs import accumulate
from depthopt.rewrite.regression import best_fits, error_of

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Strengths that hold a weight to what it was, relative to the inputs' mean variance."""


def compensate(
    student: fx.GraphModule,
    teacher: fx.GraphModule,
    chain: Chain,
    index: int,
    replay: Replay,
) -> None:
    """Regress the convolution of one kept block, in place, if held-out images gain by it.

    Args:
        student: the shallow network, done up to this block.
        teacher: the original, traced, its norms folded.
        chain: the original's chain.
        index: the block's.
        replay: runs both on the calibration images.
    """
    block = chain.blocks[index]
    layer, norm = _layers(student, block)
    if not isinstance(layer, nn.Conv2d) or (norm is not None and not norm.affine):
        return  # a norm alone, or one with nothing to adjust
    regression, inputs, wanted = accumulate(
        replay,
        block.spec,
        block.name,
        conv=next(node for node in student.graph.nodes if node.target == block.name),
        linear=nodes_by_name(student)[block.linear],
        adds=sum(skip.ending is None for skip in chain.skips_to(index + 1)),
        wanted=nodes_by_name(teacher)[block.preactivation],
    )
    before = folded(layer, norm)
    prior = {block.name: before[0]}
    fitted = best_fits(regression, block.spec, inputs, {block.name: wanted}, RIDGES, prior)
    best = fitted[block.name]
    weight, bias = (tensor.to(inputs.dtype) for tensor in before)
    if best.error < error_of(inputs, weight, bias, block.spec, wanted):
        set_weights(layer, norm, best.weight, best.bias, regression, own_lengths(layer))


def _layers(student: fx.GraphModule, block: Block) -> tuple[nn.Module, nn.BatchNorm2d | None]:
    """The block's convolution, and the norm behind it, if any."""
    layer = student.get_submodule(block.name)
    last = student.get_submodule(str(nodes_by_name(student)[block.linear].target))
    return layer, last if last is not layer and isinstance(last, nn.BatchNorm2d) else None
