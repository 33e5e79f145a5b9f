"""Fuse a network: fold its norms and scales and compose its expanded segments, exactly."""

from depthopt.graph.network import TracedNetwork
from depthopt.graph.original import deepcopied
from depthopt.graph.verify import check_rewritten
from depthopt.rewrite.expanded import is_expanded
from depthopt.rewrite.fold import fold_norms, fold_scales, norms_to_convolutions
from depthopt.rewrite.inserted import settle
from depthopt.rewrite.join import join


def fuse(network: TracedNetwork) -> TracedNetwork:
    """A fused copy of a trained shallow network.

    Every batch norm is folded into its convolution, one that has none becomes a depthwise
    1x1 convolution, and every LayerScale is folded into its linear layer. Every expanded segment
    and all fits in a row that one convolution can stand for (``depthopt.kinds.chained``) become
    one. The result computes the same as ``network`` in evaluation mode, to rounding; that is
    checked on a made-up batch.

    Args:
        network: what ``apply`` gave, trained or not; it is not changed.

    Raises:
        ModelError: an inserted activation has not come into its own yet, weights do not fit the
            network's type once norms are folded, or the result computes something else.
    """
    fused = deepcopied(network).eval()
    for name, module in list(fused.named_modules()):
        if is_expanded(module):
            fused.set_submodule(name, module.fused())
    settle(fused)
    fold_norms(fused)
    norms_to_convolutions(fused)
    fold_scales(fused)
    for names, operator in () if network.meta.get("fused") else fused.meta.get("joined", ()):
        join(fused, names, operator)
    fused.graph.lint()
    fused.meta["fused"] = True
    check_rewritten(network, fused, network.meta["input_size"])
    return fused
