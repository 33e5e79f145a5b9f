"""Find the branches of transformers: attention and MLPs whose output is added to their input.

A branch reads tokens (N, T, C) through a layer norm, and gives as many, which are added to what it
read: ``x + attention(norm(x))`` or ``x + mlp(norm(x))``. It is recognised by what it computes, not
by its class. A branch that does anything else stays as it is, with a reason.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from depthopt.core.chain import Block, Layout, Skip, Unused
from depthopt.core.operators import Attention, Mlp
from depthopt.extraction.branch_parts import Parts, UnknownError, is_norm, mlp_of, path_of
from depthopt.extraction.network import Network
from depthopt.graph.activations import is_addition
from depthopt.graph.constants import is_size
from depthopt.graph.convolutions import sole_user
from depthopt.graph.heads import heads_written

_ATTENTION = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
"""Names of what torch's attention is given, in order."""


@dataclass(frozen=True, slots=True)
class Residual:
    """A branch whose output is added to what it reads.

    Attributes:
        name: path of what holds its linear layers.
        operator: what it computes.
        source: the tensor that it reads.
        reader: the norm, which reads it.
        hidden: what its last linear layer reads; None where what it comes from cannot be told.
        output: what is added.
        add: the addition.
        inside: all nodes between what it reads and the addition.
    """

    name: str
    operator: Attention | Mlp
    source: fx.Node
    reader: fx.Node
    hidden: fx.Node | None
    output: fx.Node
    add: fx.Node
    inside: tuple[fx.Node, ...]

    @property
    def block(self) -> Block:
        """The branch and the add behind it, as a block."""
        _, tokens, channels = self.add.meta["shape"]
        add = self.add.name
        layout = Layout(channels, (tokens, 1), channels, (tokens, 1))
        return Block(
            self.name, self.operator, layout, None, self.source.name, self.output.name, add, add,
            self.reader.name, None if self.hidden is None else self.hidden.name,
        )  # fmt: skip

    def skip(self, position: int) -> Skip:
        """What is added to the branch, as the skip over its block."""
        return Skip(position, position + 1, self.add.name, self.source.name)


@dataclass(frozen=True, slots=True)
class Residuals:
    """The branches of a network.

    Attributes:
        found: in order.
        unused: those that are not known, and why.
    """

    found: tuple[Residual, ...]
    unused: tuple[Unused, ...]


def find_residuals(network: Network) -> Residuals:
    """The branches that add attention or an MLP of some tokens to these."""
    found, unused = list[Residual](), list[Unused]()
    for node in network.nodes:
        if not is_addition(node) or len(node.meta["shape"]) != 3:
            continue
        if any(each.op == "get_attr" for each in node.all_input_nodes):
            continue  # of where tokens are
        ends = _ends(network, node)
        if ends is None:
            continue
        try:
            found.append(_read(network, *ends, node))
        except UnknownError as error:
            unused.append(Unused(node.name, f"adds a branch that {error}"))
    return Residuals(tuple(found), tuple(unused))


def _ends(network: Network, add: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """What a branch reads, and what it gives, where all between is the branch's own."""
    left, right = add.all_input_nodes
    for source, output in ((left, right), (right, left)):
        if sole_user(output) is add and network.regions.is_closed(source, add):
            return source, output
    return None


def _read(network: Network, source: fx.Node, output: fx.Node, add: fx.Node) -> Residual:
    inside = [
        node
        for node in network.nodes
        if network.regions.holds(source, output, node) and node not in network.constants
    ]
    readers = [node for node in source.users if node is not add and not is_size(node)]
    if len(readers) != 1 or not is_norm(network, readers[0]):
        raise UnknownError("does not begin with a layer norm")
    parts = Parts.of(network, inside)
    if parts.products:
        found: Attention | Mlp = _attention(network, parts, source)
    else:
        found = mlp_of(network, parts, source, inside)
    name = path_of(parts)
    hidden: fx.Node | None = parts.linear[-1].reads
    divided = [node for node in inside if node.target in {"chunk", torch.chunk}]
    is_halved = len(divided) == 1 or not isinstance(found, Mlp) or found.gated != 1
    if not is_halved or not _is_known(parts, found, parts.linear[-1].reads, output):
        hidden = None
    return Residual(name, found, source, readers[0], hidden, output, add, tuple(inside))


def _is_known(parts: "Parts", found: Attention | Mlp, hidden: fx.Node, output: fx.Node) -> bool:
    """Whether heads can be told apart, and only LayerScale lies behind the last linear layer."""
    before, _, behind = " ".join(parts.steps).rpartition("linear")
    if isinstance(found, Attention):
        own = {norm.meta["shape"][-1] for norm in parts.norms[1:]} <= {found.head_width}
        others = {"scale", "function"} & set(before.split())
        if others or not own or heads_written(hidden, found) is None:
            return False
    node = sole_user(hidden)
    while node is not None and node is not output:
        node = sole_user(node)
    return node is output and not set(behind.split()) - {"scale", "dropout"}


def _attention(network: Network, parts: Parts, source: fx.Node) -> Attention:
    tokens, channels = source.meta["shape"][1:]
    if len(parts.products) != 1 or parts.activations or "gate" in parts.steps:
        raise UnknownError("is more than one attention")
    rotary = interleaved = None
    if "turn" in parts.steps:
        if len(parts.turned) != 2:
            raise UnknownError("turns its tokens in a way that is not known")
        rotary = tokens - parts.turned[0].meta["shape"][-2]
        interleaved = any(node.target is torch.stack for node in parts.turned[0].users)
    (product,) = parts.products
    given: dict[str, Any] = dict(zip(_ATTENTION, product.args, strict=False))
    given |= product.kwargs
    queries, keys, values = (given.pop(name) for name in _ATTENTION[:3])
    bias = _tensor(given.pop("attn_mask", None))
    if bias is not None and bias not in network.constants:
        raise UnknownError("has an attention with a mask that is computed")
    if any(each is not None and each not in {0.0} for each in given.values()):
        raise UnknownError("has an attention that is causal or has a scale of its own")
    shapes = {tuple(each.meta["shape"]) for each in (queries, keys, values)}
    _, heads, length, width = product.meta["shape"] if len(product.meta["shape"]) == 4 else (0,) * 4
    if shapes != {(1, heads, tokens, width)} or length != tokens:
        raise UnknownError("has an attention that is not of all tokens with each other")
    *reading, last = parts.linear
    features = [(each.inputs, each.outputs) for each in reading]
    together = heads * width
    if features not in ([(channels, 3 * together)], [(channels, together)] * 3):
        raise UnknownError(f"makes queries, keys and values by layers of {features}")
    if (last.inputs, last.outputs) != (together, channels):
        raise UnknownError(f"ends in a layer of {last.inputs} to {last.outputs}")
    if len(parts.norms) not in {1, 3} or len(parts.scales) > 1:
        raise UnknownError(f"has {len(parts.norms)} norms and {len(parts.scales)} scales")
    normed = len(parts.norms) == 3
    return Attention(
        channels, heads, width, len(reading), normed, bool(parts.scales), bias is not None,
        rotary, bool(interleaved), parts.is_rms,
    )  # fmt: skip


def _tensor(given: fx.Node | None) -> fx.Node | None:
    """What gives a tensor. None if it gave none, such as a mask where nothing is masked."""
    return given if given is not None and "shape" in given.meta else None
