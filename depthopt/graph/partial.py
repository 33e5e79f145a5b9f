"""Run a part of a traced network."""

import contextlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, fx

from depthopt.core.inputs import Inputs
from depthopt.graph.examples import in_order


def record(graph_module: fx.GraphModule, inputs: Inputs, names: Iterable[str]) -> dict[str, Tensor]:
    """``run_until`` without gradients."""
    with torch.no_grad():
        return run_until(graph_module, inputs, names)


def run_until(
    graph_module: fx.GraphModule, inputs: Inputs, names: Iterable[str]
) -> dict[str, Tensor]:
    """Run the network as far as needed and return the values of the named nodes.

    Values that nothing needs any more are freed on the way.

    Args:
        graph_module: the traced network; it runs in the mode it is in.
        inputs: images (N, C, H, W), or tensors by name.
        names: nodes; ``"output"`` is the network's output.
    """
    recorder = _Recorder(graph_module, set(names))
    with contextlib.suppress(_AllRecorded):
        recorder.run(*in_order(graph_module, inputs))
    return recorder.values


class _AllRecorded(Exception):  # noqa: N818 - no error
    """Ends a run early."""


class _Recorder(fx.Interpreter):
    def __init__(self, graph_module: fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(graph_module)
        self._wanted = wanted
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self._wanted:
            self.values[n.name] = value
            if len(self.values) == len(self._wanted):
                raise _AllRecorded
        return value


class Tail(fx.Interpreter):
    """The rest of a network behind one node, up to its output or another node.

    Attributes:
        needs: names of the other nodes whose values the rest reads.
    """

    def __init__(
        self, graph_module: fx.GraphModule, node: fx.Node, until: fx.Node | None = None
    ) -> None:
        super().__init__(graph_module, garbage_collect_values=False)
        reached = {node}
        self._start = node
        self._rest: list[fx.Node] = []
        for other in graph_module.graph.nodes:
            if other not in reached and reached.intersection(other.all_input_nodes):
                reached.add(other)
                self._rest.append(other)
            if other is until:
                break
        sources = {source for other in self._rest for source in other.all_input_nodes} - reached
        self._weights = tuple(source for source in sources if source.op == "get_attr")
        self._sources = tuple(source for source in sources if source.op != "get_attr")
        self.needs = tuple(source.name for source in self._sources)

    def __call__(self, value: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """The network's output if the node's value were ``value``.

        Args:
            value: stands in for the node's value.
            values: the values of the nodes in ``needs``, by name.
        """
        self.env = {source: values[source.name] for source in self._sources}
        self.env[self._start] = value
        for node in (*self._weights, *self._rest):
            self.env[node] = self.run_node(node)
        output: Tensor = self.env[self._rest[-1]] if self._rest else value
        self.env = {}
        return output
