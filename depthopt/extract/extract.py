"""A traced network as a chain: blocks, skips, barriers, and what was not used."""

from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx
from torch import fx, nn

from depthopt.core.chain import Barrier, Block, Chain, Skip, Unused
from depthopt.core.spec import ConvSpec, Pair
from depthopt.errors import ModelError
from depthopt.graph.activations import is_addition, node_activation
from depthopt.graph.convolutions import conv_spec, is_foldable_norm, sole_user, why_opaque
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
    blocks = finder.blocks()
    if not blocks:
        reasons = "; ".join(f"{u.node}: {u.reason}" for u in finder.unused[:3])
        raise ModelError(f"no convolution of {name} can be used ({reasons})")
    skips = tuple(finder.skips(blocks))
    return Chain(
        model=name,
        input_size=input_size,
        blocks=tuple(part.block for part in blocks),
        skips=skips,
        barriers=tuple(finder.barriers(blocks, skips)),
        unused=tuple(finder.unused),
    )


@dataclass(frozen=True, slots=True)
class _Sum:
    """An add at the end of a block: the main convolution's output plus a branch."""

    node: fx.Node
    main: fx.Node
    branch: fx.Node
    source: fx.Node
    projection: fx.Node | None


@dataclass(frozen=True, slots=True)
class _Part:
    block: Block
    conv: fx.Node
    sums: tuple[_Sum, ...]
    output: fx.Node


class _Finder:
    """Reads blocks, skips and barriers off one traced network."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.unused: list[Unused] = []
        self._modules: dict[str, nn.Module] = dict(graph_module.named_modules())
        self._nodes: list[fx.Node] = list(graph_module.graph.nodes)
        self._flow = nx.DiGraph(
            (source, node) for node in self._nodes for source in node.all_input_nodes
        )
        self._linear: dict[fx.Node, fx.Node] = {}
        for node in self._nodes:
            if node.op == "call_module" and isinstance(self._module(node), nn.Conv2d):
                reason = self._why_unusable(node)
                if reason is None:
                    self._linear[node] = self._behind_norm(node)
                else:
                    self.unused.append(Unused(str(node.target), reason))
        self._conv_of = {linear: conv for conv, linear in self._linear.items()}
        self._sums = self._find_sums()
        self._place_sums()

    def _module(self, node: fx.Node) -> nn.Module:
        return self._modules[str(node.target)]

    def _why_unusable(self, node: fx.Node) -> str | None:
        module = self._module(node)
        calls = sum(other.target == node.target for other in self._nodes)
        if calls > 1:
            return f"is called {calls} times with shared weights"
        if len(node.meta.get("shape", ())) != 4:
            return "its output is no (N, C, H, W) tensor"
        return why_opaque(module)

    def _behind_norm(self, conv: fx.Node) -> fx.Node:
        user = sole_user(conv)
        if user is not None and user.op == "call_module" and is_foldable_norm(self._module(user)):
            return user
        return conv

    def _find_sums(self) -> dict[fx.Node, _Sum]:
        """The adds that join a block's convolution with a tensor from before it, by node."""
        sums: dict[fx.Node, _Sum] = {}
        for node in self._nodes:
            if not is_addition(node):
                continue
            left, right = node.all_input_nodes
            found = self._as_sum(node, left, right, sums) or self._as_sum(node, right, left, sums)
            if found is None:
                self.unused.append(Unused(node.name, "adds tensors of no common chain"))
            else:
                sums[node] = found
        return sums

    def _as_sum(
        self, node: fx.Node, main: fx.Node, branch: fx.Node, sums: dict[fx.Node, _Sum]
    ) -> _Sum | None:
        before = sums[main].main if main in sums else self._conv_of.get(main)
        if before is None or sole_user(main) is not node:
            return None
        upstream = nx.ancestors(self._flow, before)
        projection = self._conv_of.get(branch)
        if projection is not None and sole_user(branch) is node:
            source = projection.all_input_nodes[0]
            if source in upstream and not self._is_larger(projection, before, source):
                return _Sum(node, before, branch, source, projection)
        if branch in upstream:
            return _Sum(node, before, branch, branch, None)
        return None

    def _is_larger(self, projection: fx.Node, main: fx.Node, source: fx.Node) -> bool:
        """Whether of two parallel convolutions the second is the one to call main."""
        if main.all_input_nodes[0] is not source:
            return False
        return self._spec(projection).kernel_size > self._spec(main).kernel_size

    def _spec(self, conv: fx.Node) -> ConvSpec:
        module = self._module(conv)
        assert isinstance(module, nn.Conv2d)  # noqa: S101 - holds by construction
        return conv_spec(module)

    def _place_sums(self) -> None:
        """Drop the sums whose source is the input of no block upstream."""
        convs = self._block_convs()
        for node, total in list(self._sums.items()):
            if self._position_of(total, convs) is None:
                del self._sums[node]
                self.unused.append(Unused(node.name, "adds a tensor that is no block's input"))

    def _block_convs(self) -> list[fx.Node]:
        projections = {total.projection for total in self._sums.values()}
        return [conv for conv in self._linear if conv not in projections]

    def _position_of(self, total: _Sum, convs: list[fx.Node]) -> int | None:
        """The position of the sum's source: that of the nearest block that reads it."""
        upstream = nx.ancestors(self._flow, total.main) | {total.main}
        for position in reversed(range(convs.index(total.main) + 1)):
            conv = convs[position]
            if conv in upstream and conv.all_input_nodes[0] is total.source:
                return position
        return None

    def blocks(self) -> list[_Part]:
        """The blocks in topological order; projections on skips are none."""
        return [self._part(conv) for conv in self._block_convs()]

    def _part(self, conv: fx.Node) -> _Part:
        linear = end = self._linear[conv]
        sums = []
        while (user := sole_user(end)) in self._sums and self._sums[user].main is conv:
            sums.append(self._sums[user])
            end = user
        preactivation, activation = end, None
        user = sole_user(end)
        if user is not None and (activation := node_activation(user, self._modules)):
            end = user
        source = conv.all_input_nodes[0]
        block = Block(
            name=str(conv.target),
            spec=self._spec(conv),
            input_size=_size(source),
            output_size=_size(conv),
            activation=activation,
            input=source.name,
            linear=linear.name,
            preactivation=preactivation.name,
            output=end.name,
        )
        return _Part(block, conv, tuple(sums), end)

    def skips(self, blocks: list[_Part]) -> Iterator[Skip]:
        """The skips that the blocks' sums close, in the order of the additions."""
        convs = [part.conv for part in blocks]
        for target, part in enumerate(blocks, start=1):
            for total in part.sums:
                source = self._position_of(total, convs)
                assert source is not None  # noqa: S101 - _place_sums dropped the others
                projection = total.projection
                yield Skip(
                    source,
                    target,
                    total.node.name,
                    total.branch.name,
                    None if projection is None else self._spec(projection),
                    None if projection is None else str(projection.target),
                )

    def barriers(self, blocks: list[_Part], skips: tuple[Skip, ...]) -> Iterator[Barrier]:
        """The positions between two blocks that no segment may cross."""
        projections = {skip.projection_name for skip in skips}
        for position in range(1, len(blocks)):
            before, after = blocks[position - 1], blocks[position]
            source = after.conv.all_input_nodes[0]
            if source is not before.output:
                yield Barrier(position, source.name, self._what(source))
            else:
                own = {after.conv.name} | {s.add for s in skips if s.source == position}
                for user in before.output.users:
                    if user.name not in own and user.target not in projections:
                        yield Barrier(position, user.name, f"also read by {self._what(user)}")
                        break

    def _what(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return f"{type(self._module(node)).__name__} {node.target}"
        if node.op == "placeholder":
            return "the network's input"
        return f"{getattr(node.target, '__name__', node.target)} ({node.name})"


def _size(node: fx.Node) -> Pair:
    shape = node.meta["shape"]
    return shape[-2], shape[-1]
