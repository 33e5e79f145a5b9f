"""Run the common beginning of two networks once for both."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import fx, nn

from depthopt.core.inputs import Inputs
from depthopt.graph.replay import Replay, Wish


@dataclass(frozen=True, slots=True)
class Parted:
    """The rests of two networks after their common beginning, and what these read.

    Attributes:
        first: the rest of the first network; its modules are that network's own.
        second: of the second.
        batches: what the rests read, by name, for every batch of inputs; made again by the second
            network whenever they are gone through, or from memory if they fit into it.
    """

    first: fx.GraphModule
    second: fx.GraphModule
    batches: Collection[Inputs]


def parted(
    first: fx.GraphModule, second: fx.GraphModule, batches: Collection[Inputs], alike: str | None
) -> Parted:
    """Split two networks where they begin to differ. Not split if nothing can be shared.

    Args:
        first: of the same trace as the second, changed in part.
        second: may hold norms that are folded into their convolutions, their nodes kept.
        batches: of inputs, the same every time.
        alike: the node up to which both compute the same; what reads it may differ. None: no node.
    """
    pairs = list(zip(first.graph.nodes, second.graph.nodes, strict=False))
    differ = (i for i, (own, other) in enumerate(pairs) if not _alike(own, other, alike))
    begin = next(differ, 0) if alike else 0
    read = {
        source.name
        for network in (first, second)
        for node in list(network.graph.nodes)[begin:]
        for source in node.all_input_nodes
    }
    ends = [pair for pair in pairs[:begin] if pair[0].op != "get_attr" and pair[0].name in read]
    whole = Parted(first, second, batches)
    if all(own.op == "placeholder" for own, _ in ends):
        return whole
    if not all(_gives_same(first, second, own, other) for own, other in ends):
        return whole
    names = frozenset(own.name for own, _ in ends)
    rests = _rest(first, begin, names), _rest(second, begin, names)
    if not all(any(True for _ in rest.parameters()) for rest in rests):
        return whole
    wish = Wish(names, pairs[begin][1])
    return Parted(rests[0], rests[1], _Beginnings(Replay((second,), batches), wish))


@dataclass(frozen=True, slots=True)
class _Beginnings(Collection[Inputs]):
    replay: Replay
    wish: Wish

    def __len__(self) -> int:
        return len(self.replay)

    def __iter__(self) -> Iterator[Inputs]:
        for (values,) in self.replay(self.wish):
            yield values

    def __contains__(self, batch: object) -> bool:
        return any(batch is own for own in self)


def _alike(own: fx.Node, other: fx.Node, last: str | None) -> bool:
    """Whether two nodes do the same with values of the same names, and do not read the last one."""
    if any(source.name == last for source in other.all_input_nodes):
        return False
    calls = [(n.op, n.name, n.target, repr((n.args, n.kwargs))) for n in (own, other)]
    return calls[0] == calls[1]


def _gives_same(
    first: fx.GraphModule, second: fx.GraphModule, own: fx.Node, other: fx.Node
) -> bool:
    """Whether a value is a tensor, and of no convolution that a norm is folded into in one."""
    if "shape" not in other.meta or own.op != "call_module":
        return "shape" in other.meta
    modules = first.get_submodule(str(own.target)), second.get_submodule(str(other.target))
    if not isinstance(modules[1], nn.Conv2d):
        return True
    return isinstance(modules[0], nn.Conv2d) and torch.equal(modules[0].weight, modules[1].weight)


def _rest(network: fx.GraphModule, begin: int, names: Collection[str]) -> fx.GraphModule:
    """A network from one of its nodes on, a placeholder for each value of those names."""
    graph, values = fx.Graph(), dict[fx.Node, fx.Node]()
    nodes = list(network.graph.nodes)
    for node in nodes[:begin]:
        if node.name in names:
            values[node] = graph.placeholder(node.name)
    for node in nodes[:begin]:
        if node.op == "get_attr":
            values[node] = graph.node_copy(node)
    for node in nodes[begin:]:
        values[node] = graph.node_copy(node, values.__getitem__)
    return fx.GraphModule(network, graph)
