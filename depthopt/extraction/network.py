"""A traced network, as the recognisers read it."""

from collections import Counter
from dataclasses import dataclass

import networkx as nx
from torch import fx, nn

from depthopt.core.shapes import Pair
from depthopt.extraction.regions import Regions
from depthopt.graph.constants import constants
from depthopt.graph.shared import shared_weights


@dataclass(frozen=True, slots=True)
class Network:
    """A traced network with what the recognisers need.

    Attributes:
        nodes: in the order of execution.
        modules: by path.
        calls: how often each module is called, by path.
        shared: why weights are not a module's own, by its path.
        flow: which node reads which.
        regions: which parts have one tensor in and one tensor out.
        constants: the nodes that depend on no input.
    """

    nodes: tuple[fx.Node, ...]
    modules: dict[str, nn.Module]
    calls: Counter[object]
    shared: dict[str, str]
    flow: "nx.DiGraph[fx.Node]"
    regions: Regions
    constants: frozenset[fx.Node]

    @classmethod
    def of(cls, graph_module: fx.GraphModule) -> "Network":
        """Read a traced network, whose nodes know their shapes."""
        nodes = tuple(graph_module.graph.nodes)
        return cls(
            nodes,
            dict(graph_module.named_modules()),
            Counter(node.target for node in nodes if node.op == "call_module"),
            shared_weights(graph_module),
            nx.DiGraph((source, node) for node in nodes for source in node.all_input_nodes),
            Regions(nodes),
            constants(nodes),
        )

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls, if it calls one."""
        return self.modules[str(node.target)] if node.op == "call_module" else None

    def upstream(self, node: fx.Node) -> set[fx.Node]:
        """All nodes that a node's value depends on."""
        found: set[fx.Node] = nx.ancestors(self.flow, node)
        return found


def size_of(node: fx.Node) -> Pair:
    """(height, width) of a node's tensor."""
    shape = node.meta["shape"]
    return shape[-2], shape[-1]
