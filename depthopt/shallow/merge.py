"""The last step of rewriting: norms folded and expanded segments merged, exactly."""

import copy

from depthopt.graph.network import TracedNetwork
from depthopt.rewrite.expanded import is_expanded
from depthopt.rewrite.fold import fold_norms, norms_to_convolutions
from depthopt.rewrite.inserted import settle


def merge(network: TracedNetwork) -> TracedNetwork:
    """A copy of a trained shallow network with nothing left to merge.

    Every batch norm is folded into its convolution, one that has none becomes a depthwise
    1x1 convolution, and every expanded segment becomes one convolution. The result computes
    the same as ``network`` in evaluation mode, to rounding.

    Args:
        network: what ``apply`` gave, trained or not; it is not changed.

    Raises:
        ModelError: an inserted activation has not come into its own yet.
    """
    merged = copy.deepcopy(network).eval()
    for name, module in list(merged.named_modules()):
        if is_expanded(module):
            merged.set_submodule(name, module.fused())
    settle(merged)
    fold_norms(merged)
    norms_to_convolutions(merged)
    merged.graph.lint()
    return merged
