"""Join consecutive convolutions into one, in place in a traced network."""

from collections.abc import Sequence
from functools import reduce

from torch import fx

from depthopt.core.operators import Convolution
from depthopt.graph.convolutions import conv_with
from depthopt.graph.network import reroute
from depthopt.rewrite.affine import Affine


def join(graph_module: fx.GraphModule, names: Sequence[str], operator: Convolution) -> None:
    """Join consecutive convolutions into one.

    Args:
        graph_module: changed in place; nothing else reads what lies between them, and their norms
            are folded.
        names: of their modules, in order; the first one's becomes that of the one.
        operator: the one that computes the same. None behind the first is padded.
    """
    layers = [graph_module.get_submodule(name) for name in names]
    one = reduce(Affine.then, map(Affine.of, layers))
    nodes: dict[object, fx.Node] = {node.target: node for node in graph_module.graph.nodes}
    first, *others = (nodes[name] for name in names)
    reroute(others[-1], first)
    for node in reversed(others):
        graph_module.graph.erase_node(node)
    graph_module.set_submodule(
        names[0], conv_with(operator, one.weight, one.bias, like=graph_module)
    )
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
