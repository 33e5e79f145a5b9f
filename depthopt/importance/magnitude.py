"""A cheap estimator: the share of the network's L1 norm that a candidate removes."""

from collections.abc import Sequence

from torch import nn

from depthopt.core.candidate import Candidate, replacing
from depthopt.core.chain import Chain
from depthopt.core.operators import Convolution
from depthopt.graph.trace import trace
from depthopt.kinds.registry import is_part, kind_of
from depthopt.rewrite.affine import folded
from depthopt.rewrite.fold import fold_norms
from depthopt.rewrite.norms import l1_norm
from depthopt.shallow.build import check_chain
from depthopt.tables.importance import Importance, ImportanceTable


def magnitude_importance(
    model: nn.Module, chain: Chain, candidates: Sequence[Candidate]
) -> ImportanceTable:
    """Score every candidate by the weights that it removes, without data.

    The cost is the L1 norm of the removed layers, norms folded into convolutions, as a share of all
    blocks', times the share of the segment's parameters that is saved.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
        candidates: what may replace its segments.
    """
    graph_module = trace(model, chain.input_size)
    check_chain(graph_module, chain)
    fold_norms(graph_module)
    norms = [
        float(folded(layer)[0].abs().sum())
        if isinstance(block.operator, Convolution)
        else l1_norm(layer)
        for block in chain.blocks
        for layer in [graph_module.get_submodule(block.name)]
    ]
    entries = {}
    for candidate in replacing(candidates):
        if is_part(candidate):
            continue
        blocks = range(candidate.start, candidate.end)
        retained = kind_of(candidate).retained(candidate)
        removed = sum(norms[i] for i in blocks if i not in retained)
        before = sum(chain.blocks[i].operator.parameters for i in blocks)
        after = sum(operator.parameters for operator in candidate.operators)
        share = 1.0 if retained else max(0.0, 1 - after / before)
        entries[candidate] = Importance(removed / sum(norms) * share)
    return ImportanceTable(chain.model, "magnitude", 0, entries)
