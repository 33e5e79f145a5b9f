"""The L1 norms of a network's convolutions, for choosing which ones to merge."""

from torch import nn

from depthopt.core.chain import Chain
from depthopt.graph.trace import trace


def l1_norms(model: nn.Module, chain: Chain) -> tuple[float, ...]:
    """The L1 norm of every block's weight, for ``candidates(..., weights=)``.

    Of the convolution's weight as it stands, without the norm behind it, as LayerMerge's code has
    it (``l1_norm_sum`` in ``layer_merge/models/merge_op.py`` of
    https://github.com/snu-mllab/LayerMerge); of a norm that is a block of its own, of its scale; of
    a transformer's branch, of its linear layers.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
    """
    network = trace(model, chain.input_size)
    return tuple(l1_norm(network.get_submodule(block.name)) for block in chain.blocks)


def l1_norm(layer: nn.Module) -> float:
    """The L1 norm of a layer's weight, or of those of the linear layers that a module holds."""
    weight = getattr(layer, "weight", None)
    if weight is None:
        parts = (part for part in layer.modules() if isinstance(part, nn.Linear))
        return sum(map(l1_norm, parts), 0.0)
    return float(weight.detach().double().abs().sum())
