"""The L1 norms of a network's convolutions, for choosing which ones to merge."""

from torch import nn

from depthopt.core.chain import Chain
from depthopt.graph.trace import trace


def l1_norms(model: nn.Module, chain: Chain) -> tuple[float, ...]:
    """The L1 norm of every block's weight, for ``candidates(..., weights=)``.

    Of the convolution's weight as it stands, without the norm behind it, as LayerMerge's code has
    it (``l1_norm_sum`` in ``layer_merge/models/merge_op.py`` of
    https://github.com/snu-mllab/LayerMerge); of a norm that is a block of its own, of its scale.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
    """
    network = trace(model, chain.input_size)
    return tuple(_l1(network.get_submodule(block.name)) for block in chain.blocks)


def _l1(layer: nn.Module) -> float:
    weight = getattr(layer, "weight", None)
    return 0.0 if weight is None else float(weight.detach().double().abs().sum())
