"""Parts of a traced network that compute the same with other weights, and their mean."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from timm.layers import DropPath, drop_path
from torch import Tensor, fx, nn

from depthopt.errors import ModelError
from depthopt.graph.constants import constants, is_size
from depthopt.graph.plain import is_plain
from depthopt.graph.remembered import state_of

Ends = tuple[fx.Node, fx.Node]
"""The tensors that a part begins and ends with."""


@dataclass(frozen=True, slots=True)
class Alike:
    """Parts of a network that differ in nothing but their weights.

    Attributes:
        network: traced.
        nodes: of the first part, in order; the last gives its output.
        reads: the nodes outside that it reads: the tensor that it begins with, then others.
        weights: for each weight of the first part, the names of that weight in every part.
    """

    network: fx.GraphModule
    nodes: tuple[fx.Node, ...]
    reads: tuple[fx.Node, ...]
    weights: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, network: fx.GraphModule, parts: Sequence[Ends]) -> "Alike":
        """Compare parts of a network. What drops numbers in training, the first has as it is.

        Raises:
            ModelError: they differ in something else than weights; the first such node is named.
        """
        first, *others = (_Part.of(network, ends) for ends in parts)
        own = first.weights(network)
        names = {name: [name] for name in own}
        for other in others:
            for name, counterpart in _counterparts(network, first, other).items():
                names[name].append(counterpart)
        return cls(
            network, first.nodes, first.reads, {name: tuple(every) for name, every in names.items()}
        )

    @torch.no_grad()
    def mean(self, shares: Sequence[float]) -> dict[str, Tensor]:
        """The parts' weights averaged, by their names in the first part.

        Args:
            shares: of each part; they sum to 1.
        """
        found = dict[str, Tensor]()
        for name, every in self.weights.items():
            tensors = [_tensor(self.network, each) for each in every]
            total = sum(s * t.double() for s, t in zip(shares, tensors, strict=True) if s)
            found[name] = torch.as_tensor(total).to(tensors[0])
        return found

    @torch.no_grad()
    def set_mean(self, shares: Sequence[float]) -> None:
        """Give the first part the parts' mean, in place."""
        for name, value in self.mean(shares).items():
            _tensor(self.network, name).copy_(value)

    def averaged(self, shares: Sequence[float]) -> fx.GraphModule:
        """A network of its own that computes the first part with the parts' mean.

        Its inputs are the values of ``reads``; its nodes have the names that they have here.
        """
        graph, new = fx.Graph(), dict[fx.Node, fx.Node]()
        for node in self.reads:
            new[node] = graph.placeholder(node.name)
            new[node].meta = dict(node.meta)
        for node in self.nodes:
            new[node] = graph.node_copy(node, new.__getitem__)
        graph.output(new[self.nodes[-1]])
        part = copy.deepcopy(fx.GraphModule(self.network, graph))
        for name, value in self.mean(shares).items():
            _tensor(part, name).data.copy_(value)
        return part


@dataclass(frozen=True, slots=True)
class _Part:
    nodes: tuple[fx.Node, ...]
    reads: tuple[fx.Node, ...]

    @classmethod
    def of(cls, network: fx.GraphModule, ends: Ends) -> "_Part":
        begin, end = ends
        behind, fixed = {begin}, constants(network.graph.nodes)
        for node in network.graph.nodes:
            if behind.intersection(node.all_input_nodes):
                behind.add(node)
        wanted, inside, reads = {end}, dict[fx.Node, None](), [begin]
        for node in reversed(network.graph.nodes):
            if node not in wanted or node is begin:
                continue
            # What depends on no image, such as a table of positions, may serve other parts too.
            read_by = {user for user in node.users if user.users}
            serves_others = node in fixed and not inside.keys() >= read_by
            if not serves_others and (node in behind or (node in fixed and not is_size(node))):
                inside[node] = None
                wanted.update(node.all_input_nodes)
            else:
                reads.append(node)
        return cls(tuple(reversed(inside)), tuple(reads))

    def weights(self, network: fx.GraphModule) -> list[str]:
        """The names of its parameters."""
        found = dict[str, None]()
        for node in self.nodes:
            if node.op == "call_module":
                module = network.get_submodule(str(node.target))
                found |= {f"{node.target}.{name}": None for name, _ in module.named_parameters()}
            elif node.op == "get_attr" and isinstance(
                _tensor(network, str(node.target)), nn.Parameter
            ):
                found[str(node.target)] = None
        return list(found)


def _counterparts(network: fx.GraphModule, first: _Part, other: _Part) -> dict[str, str]:
    """The name of each weight of one part in another.

    Raises:
        ModelError: the parts differ in something else.
    """
    counterpart = {first.reads[0]: other.reads[0]}
    names = dict[str, str]()
    nodes = [
        [node for node in part.nodes if _undropped(network, node) is node]
        for part in (first, other)
    ]
    if len(nodes[0]) != len(nodes[1]):
        raise ModelError(
            f"{first.nodes[-1]} and {other.nodes[-1]} end parts of {len(nodes[0])} and "
            f"{len(nodes[1])} operations, which cannot share weights"
        )
    for one, two in zip(*nodes, strict=True):
        counterpart[one] = two
        why = _difference(network, one, two, counterpart, names)
        if why is not None:
            raise ModelError(f"{one} and {two} cannot share weights: {why}")
    return names


def _difference(
    network: fx.GraphModule,
    one: fx.Node,
    two: fx.Node,
    counterpart: Mapping[fx.Node, fx.Node],
    names: dict[str, str],
) -> str | None:
    """What two nodes differ in besides their weights, whose names are added; None if nothing."""
    is_named = one.op in {"call_module", "get_attr"}
    if one.op != two.op or not (is_named or one.target == two.target):
        return f"one is {one.target}, the other {two.target}"
    given = partial(_unlike, network, counterpart)
    if (why := given(one.args, two.args) or given(one.kwargs, two.kwargs)) is not None:
        return why
    if not is_named:
        return None
    paths = str(one.target), str(two.target)
    if one.op == "get_attr":
        return _unlike_tensors(network, *paths, names)
    return _unlike_modules(network, *paths, names)


def _unlike_modules(
    network: fx.GraphModule, one: str, two: str, names: dict[str, str]
) -> str | None:
    """What two modules differ in besides their weights, whose names are added; None if nothing."""
    modules = [network.get_submodule(path) for path in (one, two)]
    if type(modules[0]) is not type(modules[1]) or repr(modules[0]) != repr(modules[1]):
        return f"one is {modules[0]}, the other {modules[1]}"
    tensors = [dict(_all_tensors(module)) for module in modules]
    states = [
        {name: value for name, value in state_of(module).items() if name not in own}
        for module, own in zip(modules, tensors, strict=True)
    ]
    if tensors[0].keys() != tensors[1].keys() or states[0] != states[1]:
        return f"the {type(modules[0]).__name__} of one is set up in another way"
    every = (_unlike_tensors(network, f"{one}.{n}", f"{two}.{n}", names) for n in tensors[0])
    return next((why for why in every if why is not None), None)


def _unlike_tensors(
    network: fx.GraphModule, one: str, two: str, names: dict[str, str]
) -> str | None:
    """Why two tensors cannot be averaged; where they are weights their names are added."""
    first, second = _tensor(network, one), _tensor(network, two)
    if first.shape != second.shape:
        return f"{one} is {tuple(first.shape)}, {two} is {tuple(second.shape)}"
    weights = [isinstance(tensor, nn.Parameter) for tensor in (first, second)]
    if all(weights):
        names[one] = two
    elif any(weights) or not torch.equal(first, second):
        return f"{one} and {two} hold other numbers, and are not weights"
    return None


def _unlike(
    network: fx.GraphModule, counterpart: Mapping[fx.Node, fx.Node], one: object, two: object
) -> str | None:
    """What two nodes are given that is not the same, each in its own part; None if nothing."""
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(one, fx.Node) and isinstance(two, fx.Node):
        first, second = (_undropped(network, node) for node in (one, two))
        is_same = counterpart.get(first, first) is second
    elif isinstance(one, (tuple, list)) and isinstance(two, (tuple, list)):
        is_same, pairs = len(one) == len(two), zip(one, two, strict=False)
    elif isinstance(one, Mapping) and isinstance(two, Mapping):
        is_same, pairs = one.keys() == two.keys(), ((one[key], two.get(key)) for key in one)
    elif isinstance(one, slice) and isinstance(two, slice):
        is_same = True
        pairs = ((one.start, two.start), (one.stop, two.stop), (one.step, two.step))
    else:
        is_same = type(one) is type(two) and one == two
    if not is_same:
        return f"one is given {one}, the other {two}"
    return next((why for pair in pairs if (why := _unlike(network, counterpart, *pair))), None)


def _undropped(network: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The node whose value this one passes on, but for numbers dropped in training; or itself."""
    while node.target is drop_path or (
        node.op == "call_module"
        and is_plain(network.get_submodule(str(node.target)), nn.Dropout, DropPath)
    ):
        node = node.all_input_nodes[0]
    return node


def _all_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _tensor(network: nn.Module, name: str) -> Tensor:
    """A parameter or buffer by its name."""
    path, _, own = name.rpartition(".")
    found: Tensor = getattr(network.get_submodule(path), own)
    return found
