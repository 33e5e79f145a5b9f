"""Find the branches of transformers: attention and MLPs whose output is added to their input.

A branch reads tokens (N, T, C) through a layer norm, and gives as many, which are added to what it
read: ``x + attention(norm(x))`` or ``x + mlp(norm(x))``. It is recognised by what it computes, not
by its class. A branch that does anything else stays as it is, with a reason.
"""

import math
import operator
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from timm.layers import DropPath, LayerNorm, drop_path
from torch import fx, nn

from depthopt.core.chain import Block, Layout, Skip, Unused
from depthopt.core.operators import Attention, Mlp
from depthopt.extraction.network import Network
from depthopt.graph.activations import is_addition, node_activation
from depthopt.graph.constants import is_size
from depthopt.graph.convolutions import sole_user
from depthopt.graph.heads import heads_written
from depthopt.graph.plain import is_plain, why_not_plain

_RESHAPING = frozenset(
    {"chunk", "contiguous", "flatten", "permute", "reshape", "split", "transpose", "unbind", "view"}
    | {"to", "type_as"}
)
"""Names of methods and functions that only arrange numbers otherwise."""

_ROTATING = frozenset({operator.neg, torch.neg, torch.cat, torch.stack})
"""Functions that rotary positions are made with, besides products with constants and sums."""

_SIZES = frozenset({getattr, operator.getitem, operator.floordiv, operator.mul, operator.eq})
"""Functions of Python that sizes are worked out by."""

_ATTENTION = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
"""Names of what torch's attention is given, in order."""

_BEHIND = "( dropout)*( norm)?( dropout)* linear( dropout)*( scale)?( dropout)*"

_PLAIN = re.compile(f"norm linear activation{_BEHIND.replace('( norm)?', '')}")
"""What an MLP does, in the words of ``_Parts``."""

_GATED = {
    1: re.compile(f"norm linear( reshape){{3}} activation( dropout)* gate{_BEHIND}"),
    2: re.compile(f"norm linear ?(activation linear|linear activation)( dropout)* gate{_BEHIND}"),
}
"""What an MLP with a gate does, by the linear layers in front: one that gives both, or two."""


class _UnknownError(Exception):
    """A branch does something that this module does not know."""


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
        except _UnknownError as error:
            unused.append(Unused(node.name, f"adds a branch that {error}"))
    return Residuals(tuple(found), tuple(unused))


def attention_macs(node: fx.Node) -> int:
    """Multiply-accumulates of a product of queries, keys and values; 0 for any other node."""
    if node.target is not F.scaled_dot_product_attention:
        return 0
    keys = node.all_input_nodes[1].meta["shape"][-2]
    return int(2 * math.prod(node.meta["shape"]) * keys)


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
    if len(readers) != 1 or not _is_norm(network, readers[0]):
        raise _UnknownError("does not begin with a layer norm")
    parts = _Parts.of(network, inside)
    if parts.products:
        found: Attention | Mlp = _attention(network, parts, source)
    else:
        found = _mlp(network, parts, source, inside)
    paths = [layer.path.replace(".", "/") for layer in parts.linear]
    name = posixpath.commonpath(paths).replace("/", ".")
    name = name or parts.linear[0].path
    hidden: fx.Node | None = parts.linear[-1].reads
    divided = [node for node in inside if node.target in {"chunk", torch.chunk}]
    is_halved = len(divided) == 1 or not isinstance(found, Mlp) or found.gated != 1
    if not is_halved or not _is_known(parts, found, parts.linear[-1].reads, output):
        hidden = None
    return Residual(name, found, source, readers[0], hidden, output, add, tuple(inside))


def _is_known(parts: "_Parts", found: Attention | Mlp, hidden: fx.Node, output: fx.Node) -> bool:
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


@dataclass(frozen=True, slots=True)
class _Layer:
    """A linear layer.

    Attributes:
        path: of its module.
        inputs: channels of its input.
        outputs: channels of its output.
        reads: the node of its input.
    """

    path: str
    inputs: int
    outputs: int
    reads: fx.Node

    @classmethod
    def of(cls, network: Network, node: fx.Node) -> "_Layer | None":
        """The layer that a node calls, as a module or as a function of weights; None if none.

        Raises:
            _UnknownError: it is called twice, shares its weights, or is not a plain one.
        """
        module = network.module(node)
        if isinstance(module, nn.Linear):
            path = str(node.target)
            reason = why_not_plain(module) or network.shared.get(path)
            if network.calls[node.target] > 1:
                reason = f"is called {network.calls[node.target]} times with shared weights"
            if type(module) is not nn.Linear:
                reason = f"is a {type(module).__name__}"
            if reason is not None:
                raise _UnknownError(f"holds {path}, which {reason}")
            return cls(path, module.in_features, module.out_features, node.all_input_nodes[0])
        if node.op != "call_function" or node.target is not F.linear:
            return None
        weight = node.kwargs.get("weight", node.args[1] if len(node.args) > 1 else None)
        if not isinstance(weight, fx.Node) or weight.op != "get_attr":
            raise _UnknownError(f"has a linear layer of weights that are computed ({node.name})")
        outputs, inputs = weight.meta["shape"]
        return cls(str(weight.target).rpartition(".")[0], inputs, outputs, node.all_input_nodes[0])


@dataclass(frozen=True, slots=True)
class _Parts:
    """The nodes of a branch, by what they do.

    Attributes:
        linear: linear layers.
        norms: layer norms.
        products: attention of queries, keys and values.
        activations: by name in the chain's words.
        scales: factors of channels.
        steps: what each node does, in order, in a word.
        turned: negations, one for each tensor that rotary positions turn.
    """

    linear: list[_Layer] = field(default_factory=list)
    norms: list[fx.Node] = field(default_factory=list)
    products: list[fx.Node] = field(default_factory=list)
    activations: list[fx.Node] = field(default_factory=list)
    scales: list[fx.Node] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    turned: list[fx.Node] = field(default_factory=list)

    @classmethod
    def of(cls, network: Network, inside: Sequence[fx.Node]) -> "_Parts":
        """Sort a branch's nodes.

        Raises:
            _UnknownError: one is none of these.
        """
        parts = cls()
        for node in inside:
            module = network.module(node)
            if (layer := _Layer.of(network, node)) is not None:
                parts.linear.append(layer)
                parts.steps.append("linear" if module is not None else "function")
            elif _is_norm(network, node):
                parts.norms.append(node)
                parts.steps.append("norm")
            elif node.target is F.scaled_dot_product_attention:
                parts.products.append(node)
                parts.steps.append("attention")
            elif node_activation(node, network.modules) is not None:
                parts.activations.append(node)
                parts.steps.append("activation")
            elif _is_scale(node):
                parts.scales.append(node)
                parts.steps.append("scale")
            elif is_plain(module, nn.Dropout, DropPath) or node.target is drop_path:
                parts.steps.append("dropout")
            elif (step := _step(network, node)) is not None:
                parts.steps.append(step)
                if node.target in {operator.neg, torch.neg}:
                    parts.turned.append(node)
            else:
                what = getattr(node.target, "__name__", node.target)
                called = what if module is None else type(module).__name__
                raise _UnknownError(f"has a {called} inside ({node.name})")
        return parts


def _is_norm(network: Network, node: fx.Node) -> bool:
    """Whether a node is a layer norm of tokens' channels, or of those of a head."""
    if is_plain(network.module(node), nn.LayerNorm, LayerNorm):
        return True
    return node.op == "call_function" and node.target is F.layer_norm


def _is_scale(node: fx.Node) -> bool:
    """Whether a node multiplies each channel by a weight."""
    if node.op != "call_function" or node.target not in {operator.mul, torch.mul}:
        return False
    shapes = [each.meta.get("shape") for each in node.all_input_nodes]
    weights = [each for each in node.all_input_nodes if each.op == "get_attr"]
    return len(weights) == 1 and len(shapes) == 2 and len(weights[0].meta["shape"]) == 1


def _step(network: Network, node: fx.Node) -> str | None:
    """What a node does that is not a layer, in a word; None if that is not known."""
    if _only_arranges(node):
        return "reshape"
    if node.op != "call_function":
        return None
    moving = [each for each in node.all_input_nodes if each not in network.constants]
    is_product = node.target in {operator.mul, torch.mul}
    if is_product and len(moving) == 2:
        return "gate"
    turns = is_product or node.target in _ROTATING
    if turns or (is_addition(node) and len(node.meta["shape"]) == 4):
        return "turn"
    return None


def _only_arranges(node: fx.Node) -> bool:
    """Whether a node only puts numbers elsewhere, or works out a size."""
    if node.op == "call_module":
        return False
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    sized = node.target in _SIZES or name in {"size", "_assert"}
    is_part = node.target is operator.getitem
    return name in _RESHAPING or (sized and (is_part or node.meta.get("shape") is None))


def _attention(network: Network, parts: _Parts, source: fx.Node) -> Attention:
    tokens, channels = source.meta["shape"][1:]
    if len(parts.products) != 1 or parts.activations or "gate" in parts.steps:
        raise _UnknownError("is more than one attention")
    rotary = interleaved = None
    if "turn" in parts.steps:
        if len(parts.turned) != 2:
            raise _UnknownError("turns its tokens in a way that is not known")
        rotary = tokens - parts.turned[0].meta["shape"][-2]
        interleaved = any(node.target is torch.stack for node in parts.turned[0].users)
    (product,) = parts.products
    given: dict[str, Any] = dict(zip(_ATTENTION, product.args, strict=False))
    given |= product.kwargs
    queries, keys, values = (given.pop(name) for name in _ATTENTION[:3])
    bias = given.pop("attn_mask", None)
    if bias is not None and bias not in network.constants:
        raise _UnknownError("has an attention with a mask that is computed")
    if any(each is not None and each not in {0.0} for each in given.values()):
        raise _UnknownError("has an attention that is causal or has a scale of its own")
    shapes = {tuple(each.meta["shape"]) for each in (queries, keys, values)}
    _, heads, length, width = product.meta["shape"] if len(product.meta["shape"]) == 4 else (0,) * 4
    if shapes != {(1, heads, tokens, width)} or length != tokens:
        raise _UnknownError("has an attention that is not of all tokens with each other")
    *reading, last = parts.linear
    features = [(each.inputs, each.outputs) for each in reading]
    together = heads * width
    if features not in ([(channels, 3 * together)], [(channels, together)] * 3):
        raise _UnknownError(f"makes queries, keys and values by layers of {features}")
    if (last.inputs, last.outputs) != (together, channels):
        raise _UnknownError(f"ends in a layer of {last.inputs} to {last.outputs}")
    if len(parts.norms) not in {1, 3} or len(parts.scales) > 1:
        raise _UnknownError(f"has {len(parts.norms)} norms and {len(parts.scales)} scales")
    normed = len(parts.norms) == 3
    return Attention(
        channels, heads, width, len(reading), normed, bool(parts.scales), bias is not None,
        rotary, bool(interleaved),
    )  # fmt: skip


def _mlp(network: Network, parts: _Parts, source: fx.Node, inside: Sequence[fx.Node]) -> Mlp:
    steps, channels = " ".join(parts.steps), source.meta["shape"][2]
    gated = next((layers for layers, form in _GATED.items() if form.fullmatch(steps)), 0)
    if not gated and not _PLAIN.fullmatch(steps):
        raise _UnknownError(f"is neither attention nor an MLP: {', '.join(parts.steps)}")
    for before, node in pairwise(() if gated else (source, *inside)):
        if [each for each in node.all_input_nodes if each not in network.constants] != [before]:
            raise _UnknownError(f"is not one row of layers: {node.name} reads something else")
    *first, last = parts.linear
    given = (2 if gated == 1 else 1) * last.inputs
    if {(each.inputs, each.outputs) for each in first} != {(channels, given)}:
        raise _UnknownError("has linear layers that do not follow each other")
    activation = node_activation(parts.activations[0], network.modules)
    if activation is None or last.outputs != channels:
        raise _UnknownError(f"has an activation that is not known ({parts.activations[0]})")
    normed = len(parts.norms) > 1
    return Mlp(channels, last.inputs, str(activation), bool(parts.scales), gated, normed)
