"""The adds that join the output of blocks with a tensor from before them."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx, nn

from depthopt.core.chain import Unused
from depthopt.core.shapes import Pair
from depthopt.extraction.activation import activation_before
from depthopt.extraction.average_pooling import pooling_at, pooling_before
from depthopt.extraction.convolution import Layers
from depthopt.extraction.network import Network
from depthopt.graph.activations import is_addition
from depthopt.graph.convolutions import operator_of, sole_user


@dataclass(frozen=True, slots=True)
class Branch:
    """The other operand of an add: a block's input, through linear layers if any.

    Attributes:
        node: the operand.
        source: the block's input.
        layers: the nodes of the layers on the way: a pooling if any, then a convolution or norm.
    """

    node: fx.Node
    source: fx.Node
    layers: tuple[fx.Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Sum:
    """An add that joins the output of blocks with a branch from before them.

    Attributes:
        node: the addition.
        layer: the convolution (or norm) of the last block before it.
        branch: the other operand.
        behind: whether the add lies behind that block's activation or a gate.
        gated: whether more than blocks lies between the branch's source and the add.
    """

    node: fx.Node
    layer: fx.Node
    branch: Branch
    behind: bool = False
    gated: bool = False


@dataclass(frozen=True, slots=True)
class Sums:
    """The adds of a network.

    Attributes:
        found: by their nodes, in order.
        unused: adds and poolings that are part of none, and why.
    """

    found: dict[fx.Node, Sum]
    unused: tuple[Unused, ...]


def find_sums(network: Network, layers: Layers) -> Sums:
    """The adds that join a block's output with a tensor from before it, by node."""
    reader = _Reader(network, layers)
    found: dict[fx.Node, Sum] = {}
    unused: list[Unused] = []
    for node in network.nodes:
        if not is_addition(node) or len(node.meta["shape"]) != 4:
            continue
        left, right = node.all_input_nodes
        unused += (*reader.uneven(node, left), *reader.uneven(node, right))
        sum_ = (
            reader.plain(node, left, right, found)
            or reader.plain(node, right, left, found)
            or reader.gated(node, left, right)
            or reader.gated(node, right, left)
        )
        if sum_ is None:
            unused.append(Unused(node.name, "adds tensors that are not on a common chain"))
        else:
            found[node] = sum_
    return Sums(found, tuple(unused))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one add at a time."""

    network: Network
    layers: Layers

    def plain(
        self, node: fx.Node, main: fx.Node, other: fx.Node, known: dict[fx.Node, Sum]
    ) -> Sum | None:
        """An add behind a block's norm, its other adds or its activation."""
        if sole_user(main) is not node:
            return None
        behind = False
        if main not in known and (before := activation_before(self.network, main)) is not main:
            main, behind = before, True
            if len(main.users) != 1:
                return None
        earlier = known.get(main)
        layer = self.layers.ending_in(main) if earlier is None else earlier.layer
        if layer is None:
            return None
        behind = behind or (earlier is not None and earlier.behind)
        gated = earlier is not None and earlier.gated
        branch = self._branch(node, other, layer)
        return None if branch is None else Sum(node, layer, branch, behind, gated)

    def gated(self, node: fx.Node, main: fx.Node, other: fx.Node) -> Sum | None:
        """An add behind anything that leads from the branch's source to it, and nowhere else."""
        if sole_user(main) is not node:
            return None
        branch, regions = self._branch(node, other, main), self.network.regions
        if branch is None or not regions.is_closed(branch.source, node):
            return None
        inside = [
            layer
            for layer in self.layers.linear
            if layer not in branch.layers and regions.holds(branch.source, node, layer)
        ]
        return Sum(node, inside[-1], branch, behind=True, gated=True) if inside else None

    def uneven(self, add: fx.Node, operand: fx.Node) -> Iterator[Unused]:
        """The pooling of an operand that is not one convolution's worth, and why."""
        projection = self._projection(add, operand)
        pool = None if projection is None else pooling_before(self.network, projection)
        if pool is not None and isinstance(reason := pooling_at(self.network, pool), str):
            yield Unused(str(pool.target), reason)

    def _projection(self, add: fx.Node, operand: fx.Node) -> fx.Node | None:
        """The convolution or norm whose output is an operand of the add and nothing else's."""
        layer = self.layers.ending_in(operand) if sole_user(operand) is add else None
        return layer if layer is not None and layer.op == "call_module" else None

    def _branch(self, add: fx.Node, node: fx.Node, main: fx.Node) -> Branch | None:
        """``node`` as the branch beside ``main``, which lies behind the branch's source."""
        upstream = self.network.upstream(main)
        projection = self._projection(add, node)
        if projection is not None:
            source, pool = projection.all_input_nodes[0], pooling_before(self.network, projection)
            if pool is not None and not isinstance(pooling_at(self.network, pool), str):
                if pool.all_input_nodes[0] in upstream:
                    return Branch(node, pool.all_input_nodes[0], (pool, projection))
            elif source in upstream and not self._is_larger(projection, main, source):
                return Branch(node, source, (projection,))
        return Branch(node, node) if node in upstream else None

    def _is_larger(self, projection: fx.Node, main: fx.Node, source: fx.Node) -> bool:
        """Whether of two parallel layers the second is the one to call main."""
        is_layer = main in self.layers.linear and main.op == "call_module"
        if not is_layer or main.all_input_nodes[0] is not source:
            return False
        return self._rank(projection) > self._rank(main)

    def _rank(self, layer: fx.Node) -> tuple[bool, Pair]:
        """Convolutions above norms, larger kernels above smaller ones."""
        module = self.network.modules[str(layer.target)]
        return isinstance(module, nn.Conv2d), operator_of(module).kernel_size
