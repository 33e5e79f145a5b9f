"""A traced network as a chain: blocks, skips, barriers, and what was not used."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import networkx as nx
from torch import fx, nn

from depthopt.core.chain import Barrier, Block, Chain, Ending, Skip, Unused
from depthopt.core.spec import ConvSpec, Pair
from depthopt.errors import ModelError
from depthopt.extraction.regions import Regions
from depthopt.graph.activations import is_addition, node_activation
from depthopt.graph.convolutions import (
    is_foldable_norm,
    layer_spec,
    pool_spec,
    sole_user,
    why_opaque,
)
from depthopt.graph.trace import trace


def extract(
    model: nn.Module, input_size: tuple[int, int, int], *, name: str | None = None
) -> Chain:
    """Find the chain of convolution blocks in a model.

    Works from structure alone: the model is traced with torch.fx, every convolution
    with the norm and the activation behind it becomes a block, adds become skips where
    one operand comes through blocks from the other's source, and whatever else reads or
    makes a tensor between two blocks becomes a barrier.

    Args:
        model: maps (N, C, H, W) to logits; it is not changed.
        input_size: (C, H, W).
        name: the model's name in messages and artefacts; its class by default.

    Raises:
        ModelError: the model cannot be traced, refuses the input size, holds weights
            that are not finite, or has no convolution that could be used.
    """
    name = name or type(model).__name__
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        raise ModelError(f"{name} has no convolution (torch.nn.Conv2d); nothing to make shallower")
    return chain_of(trace(model, input_size), input_size, name)


def chain_of(graph_module: fx.GraphModule, input_size: tuple[int, int, int], name: str) -> Chain:
    """The chain of an already traced model."""
    finder = _Finder(graph_module)
    if not finder.blocks:
        reasons = "; ".join(f"{u.node}: {u.reason}" for u in finder.unused[:3])
        raise ModelError(f"no convolution of {name} can be used ({reasons})")
    chain = Chain(
        name,
        input_size,
        finder.blocks,
        finder.skips,
        barriers=(),
        unused=tuple(finder.unused),
        conv_macs=graph_module.meta["conv_macs"],
    )
    return replace(chain, barriers=tuple(finder.barriers(chain)))


@dataclass(frozen=True, slots=True)
class _Branch:
    """The other operand of an add: a block's input, through linear layers if any."""

    node: fx.Node
    source: fx.Node
    projection: fx.Node | None = None
    pool: fx.Node | None = None


@dataclass(frozen=True, slots=True)
class _Sum:
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
    branch: _Branch
    behind: bool = False
    gated: bool = False


class _Finder:
    """Reads blocks, skips and barriers off one traced network."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.unused: list[Unused] = []
        self._modules: dict[str, nn.Module] = dict(graph_module.named_modules())
        self._nodes: list[fx.Node] = list(graph_module.graph.nodes)
        self._flow = nx.DiGraph(
            (source, node) for node in self._nodes for source in node.all_input_nodes
        )
        self._regions = Regions(self._nodes)
        self._calls = Counter(node.target for node in self._nodes if node.op == "call_module")
        self._linear = dict(self._find_layers())
        self._layer_of = {linear: layer for layer, linear in self._linear.items()}
        self._sums = self._find_sums()
        self._layers = self._block_layers()
        self._place_sums()
        self.blocks = tuple(self._block(layer) for layer in self._layers)
        self.skips = tuple(self._skips())

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self._modules[str(node.target)] if node.op == "call_module" else None

    def _find_layers(self) -> Iterator[tuple[fx.Node, fx.Node]]:
        """Convolutions with the node of their norm's output, and norms that stand alone."""
        absorbed = set()
        for node in self._nodes:
            module = self._module(node)
            if hidden := _hidden_convolutions(module):
                what = f"{type(module).__name__} hides {hidden} convolutions from tracing"
                self.unused.append(Unused(str(node.target), what))
            if isinstance(module, nn.Conv2d):
                if (reason := self._why_unusable(node, module)) is not None:
                    self.unused.append(Unused(str(node.target), reason))
                    continue
                linear = self._behind_norm(node)
                absorbed.add(linear)
                yield node, linear
            elif (
                isinstance(module, nn.BatchNorm2d)
                and node not in absorbed
                and self._why_unusable(node, module) is None
            ):
                yield node, node

    def _why_unusable(self, node: fx.Node, module: nn.Module) -> str | None:
        if (calls := self._calls[node.target]) > 1:
            return f"is called {calls} times with shared weights"
        if len(node.meta.get("shape", ())) != 4:
            return "its output is no (N, C, H, W) tensor"
        return why_opaque(module)

    def _behind_norm(self, conv: fx.Node) -> fx.Node:
        user = sole_user(conv)
        if user is not None and self._calls[user.target] == 1:
            norm = self._module(user)
            if norm is not None and is_foldable_norm(norm):
                return user
        return conv

    def _find_sums(self) -> dict[fx.Node, _Sum]:
        """The adds that join a block's output with a tensor from before it, by node."""
        sums: dict[fx.Node, _Sum] = {}
        for node in self._nodes:
            if not is_addition(node) or len(node.meta["shape"]) != 4:
                continue
            left, right = node.all_input_nodes
            found = (
                self._plain_sum(node, left, right, sums)
                or self._plain_sum(node, right, left, sums)
                or self._gated_sum(node, left, right)
                or self._gated_sum(node, right, left)
            )
            if found is None:
                self.unused.append(Unused(node.name, "adds tensors of no common chain"))
            else:
                sums[node] = found
        return sums

    def _plain_sum(
        self, node: fx.Node, main: fx.Node, other: fx.Node, sums: dict[fx.Node, _Sum]
    ) -> _Sum | None:
        """An add behind a block's norm, its other adds or its activation."""
        if sole_user(main) is not node:
            return None
        behind = False
        if main not in sums and node_activation(main, self._modules) is not None:
            main, behind = main.all_input_nodes[0], True
            if len(main.users) != 1:
                return None
        earlier = sums.get(main)
        layer = self._layer_of.get(main) if earlier is None else earlier.layer
        if layer is None:
            return None
        behind = behind or (earlier is not None and earlier.behind)
        gated = earlier is not None and earlier.gated
        branch = self._branch(node, other, layer)
        return None if branch is None else _Sum(node, layer, branch, behind, gated)

    def _gated_sum(self, node: fx.Node, main: fx.Node, other: fx.Node) -> _Sum | None:
        """An add behind anything that leads from the branch's source to it, and nowhere else."""
        if sole_user(main) is not node:
            return None
        branch = self._branch(node, other, main)
        if branch is None or not self._regions.is_closed(branch.source, node):
            return None
        projections = {branch.projection}
        inside = [
            layer
            for layer in self._linear
            if layer not in projections and self._regions.holds(branch.source, node, layer)
        ]
        return _Sum(node, inside[-1], branch, behind=True, gated=True) if inside else None

    def _branch(self, add: fx.Node, node: fx.Node, main: fx.Node) -> _Branch | None:
        """``node`` as the branch beside ``main``, which lies behind the branch's source."""
        upstream = nx.ancestors(self._flow, main)
        projection = self._layer_of.get(node)
        if projection is not None and sole_user(node) is add:
            source = projection.all_input_nodes[0]
            pool = source if isinstance(self._module(source), nn.AvgPool2d) else None
            if pool is not None and sole_user(pool) is projection and self._is_even(pool):
                if pool.all_input_nodes[0] in upstream:
                    return _Branch(node, pool.all_input_nodes[0], projection, pool)
            elif source in upstream and not self._is_larger(projection, main, source):
                return _Branch(node, source, projection)
        return _Branch(node, node) if node in upstream else None

    def _is_larger(self, projection: fx.Node, main: fx.Node, source: fx.Node) -> bool:
        """Whether of two parallel layers the second is the one to call main."""
        if main not in self._linear or main.all_input_nodes[0] is not source:
            return False
        return self._rank(projection) > self._rank(main)

    def _rank(self, layer: fx.Node) -> tuple[bool, Pair]:
        """Convolutions above norms, larger kernels above smaller ones."""
        return isinstance(self._module(layer), nn.Conv2d), self._spec(layer).kernel_size

    def _spec(self, layer: fx.Node) -> ConvSpec:
        return layer_spec(self._modules[str(layer.target)])

    def _is_even(self, pool: fx.Node) -> bool:
        """Whether a pooling averages over windows of one size, as a convolution does."""
        try:
            self._pool_spec(pool)
        except ValueError as reason:
            self.unused.append(Unused(str(pool.target), str(reason)))
            return False
        return True

    def _pool_spec(self, pool: fx.Node) -> ConvSpec:
        module = self._module(pool)
        assert isinstance(module, nn.AvgPool2d)  # noqa: S101 - the caller has looked
        source = pool.all_input_nodes[0]
        return pool_spec(module, source.meta["shape"][1], _size(source), _size(pool))

    def _block_layers(self) -> list[fx.Node]:
        projections = {total.branch.projection for total in self._sums.values()}
        return [layer for layer in self._linear if layer not in projections]

    def _place_sums(self) -> None:
        """Drop the sums whose source is the input of no block upstream."""
        for node, total in list(self._sums.items()):
            if self._position_of(total) is None:
                del self._sums[node]
                self.unused.append(Unused(node.name, "adds a tensor that is no block's input"))

    def _position_of(self, total: _Sum) -> int | None:
        """The position of the sum's source, if a block reads it there.

        Of several blocks upstream that do, it is the nearest; for a gated sum it is the
        first, so that all that lies between is covered.
        """
        if total.layer not in self._layers:
            return None
        last = self._layers.index(total.layer)
        source = total.branch.source
        if total.gated:
            inside = (
                position
                for position in range(last + 1)
                if self._regions.holds(source, total.node, self._layers[position])
            )
            first = next(inside)
            return first if self._layers[first].all_input_nodes[0] is source else None
        upstream = nx.ancestors(self._flow, total.layer) | {total.layer}
        for position in reversed(range(last + 1)):
            layer = self._layers[position]
            if layer in upstream and layer.all_input_nodes[0] is source:
                return position
        return None

    def _block(self, layer: fx.Node) -> Block:
        linear = end = self._linear[layer]
        user = sole_user(end)
        while (
            user in self._sums and self._sums[user].layer is layer and not self._sums[user].behind
        ):
            end = user
            user = sole_user(end)
        activation, output = self._activated(end)
        source = layer.all_input_nodes[0]
        return Block(
            name=str(layer.target),
            spec=self._spec(layer),
            input_size=_size(source),
            output_size=_size(layer),
            activation=activation,
            input=source.name,
            linear=linear.name,
            preactivation=end.name,
            output=output.name,
        )

    def _activated(self, node: fx.Node) -> tuple[str | None, fx.Node]:
        """The activation behind a node, if any, and the node behind that."""
        user = sole_user(node)
        if user is not None and (activation := node_activation(user, self._modules)):
            return activation, user
        return None, node

    def _skips(self) -> Iterator[Skip]:
        """The skips that the blocks' sums close, in the order of the additions."""
        for target, layer in enumerate(self._layers, start=1):
            for total in (t for t in self._sums.values() if t.layer is layer):
                source, branch = self._position_of(total), total.branch
                assert source is not None  # noqa: S101 - _place_sums dropped the others
                projection, pool = branch.projection, branch.pool
                yield Skip(
                    source,
                    target,
                    total.node.name,
                    branch.node.name,
                    None if projection is None else self._spec(projection),
                    None if projection is None else str(projection.target),
                    None if pool is None else self._pool_spec(pool),
                    None if pool is None else str(pool.target),
                    self._ending(total.node) if total.behind else None,
                    total.gated,
                )

    def _ending(self, add: fx.Node) -> Ending:
        activation, output = self._activated(add)
        return Ending(add.name, activation, output.name, add.meta["shape"][1], _size(add))

    def barriers(self, chain: Chain) -> Iterator[Barrier]:
        """The positions between two blocks that no segment may cross, or not alone."""
        nodes = {node.name: node for node in self._nodes}
        regions = self._regions.around_barriers(chain, nodes)
        projections = {name for s in self.skips for name in (s.projection_name, s.pool_name)}
        for position in range(1, len(self._layers)):
            before = nodes[chain.ending(0, position).output]
            after = self._layers[position]
            source = after.all_input_nodes[0]
            if source is not before:
                yield Barrier(position, source.name, self._what(source), regions(position))
                continue
            own = {after.name} | {s.add for s in self.skips if s.source == position}
            for user in before.users:
                if user.name not in own and user.target not in projections:
                    reason = f"also read by {self._what(user)}"
                    yield Barrier(position, user.name, reason, regions(position))
                    break

    def _what(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return f"{type(self._module(node)).__name__} {node.target}"
        if node.op == "placeholder":
            return "the network's input"
        return f"{getattr(node.target, '__name__', node.target)} ({node.name})"


def _hidden_convolutions(module: nn.Module | None) -> int:
    """How many convolutions an opaque leaf holds."""
    parts = () if module is None else module.modules()
    return sum(isinstance(part, nn.Conv2d) and part is not module for part in parts)


def _size(node: fx.Node) -> Pair:
    shape = node.meta["shape"]
    return shape[-2], shape[-1]
