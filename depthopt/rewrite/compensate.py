"""Regress kept layers again, to make up for replacements before them.

A shallow network's tensors differ from the original's behind the first replacement, and
the differences pile up. Every kept convolution behind it is therefore drawn to the weight
that brings the tensor at its block's end back to the original's:
``min |X W - Y|^2 + ridge |W - W0|^2`` over calibration images, with X what it sees now and
W0 the weight that it has. Of a transformer's branch it is the last linear layer, with the
LayerScale behind it. No labels are needed and nothing is trained.
"""

from torch import fx, nn

from depthopt.core.chain import Block, Chain
from depthopt.core.operators import Convolution
from depthopt.rewrite.affine import folded
from depthopt.rewrite.branch_layers import BranchLayers
from depthopt.rewrite.narrower import layers_of
from depthopt.rewrite.ridges import COMPENSATION_RIDGES
from depthopt.rewrite.set_weights import own_lengths, set_weights
from depthopt.rewrite.side_by_side import Place, SideBySide


def compensate(networks: SideBySide, chain: Chain, index: int, end: int) -> None:
    """Regress the last layer of a block in place, if that is better on held-out images.

    Args:
        networks: the shallow network, done up to this block, and the original.
        chain: the original's chain.
        index: the block's.
        end: position of the tensor that is to be the original's, which the block gives in the
            shallow network; of a kept block the next one.
    """
    block = chain.blocks[index]
    if not isinstance(block.operator, Convolution):
        if block.hidden is not None:
            _compensate_branch(networks, chain, index, end)
        return
    last, layer, norm = _layers(networks.student, block)
    if not isinstance(layer, nn.Conv2d) or (norm is not None and not norm.affine):
        return  # a norm alone, or one with nothing to adjust
    adds = sum(skip.ending is None for skip in chain.skips_to(index + 1))
    observed = networks.observe(Place(block.name, last, block.operator, adds, block.preactivation))
    weight, bias = folded(layer, norm)
    best = observed.best(COMPENSATION_RIDGES, prior=weight)
    if best.error < observed.error(weight, bias):
        set_weights(layer, norm, best.weight, best.bias, observed.regression, own_lengths(layer))


def _compensate_branch(networks: SideBySide, chain: Chain, index: int, end: int) -> None:
    block = chain.blocks[index]
    adds = sum(skip.ending is None for skip in chain.skips_to(index + 1))
    layers = BranchLayers.of(networks.student, block)
    if layers.last.bias is None:
        return  # nothing takes up the means
    hidden, channels = layers.last.in_features, layers.last.out_features
    place = Place(
        layers.last_path, block.linear, Convolution(hidden, channels, (1, 1)), adds,
        chain.blocks[end - 1].preactivation, hidden=True,
    )  # fmt: skip
    observed, (weight, bias) = networks.observe(place), layers.weights()
    best = observed.best(COMPENSATION_RIDGES, prior=weight)
    if best.error < observed.error(weight, bias):
        layers.set_last(networks.student, best.weight, best.bias)


def _layers(student: fx.GraphModule, block: Block) -> tuple[str, nn.Module, nn.BatchNorm2d | None]:
    """The path of the block's last linear layer, its convolution, and the norm behind it if any."""
    layers = layers_of(student, block)
    layer, (path, last) = layers[block.name], list(layers.items())[-1]
    return path, layer, last if last is not layer and isinstance(last, nn.BatchNorm2d) else None
