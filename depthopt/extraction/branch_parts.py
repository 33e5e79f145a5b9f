"""What the branches of transformers are made of: layers, norms, and what arranges their numbers."""

import operator
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from timm.layers import DropPath, LayerNorm, RmsNorm, drop_path
from torch import fx, nn

from depthopt.core.operators import Mlp
from depthopt.extraction.network import Network
from depthopt.graph.activations import is_addition, node_activation
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

_BEHIND = "( dropout)*( norm)?( dropout)* linear( dropout)*( scale)?( dropout)*"

_PLAIN = re.compile(f"norm linear activation{_BEHIND.replace('( norm)?', '')}")
"""What an MLP does, in the words of ``Parts``."""

_GATED = {
    1: re.compile(f"norm linear( reshape){{3}} activation( dropout)* gate{_BEHIND}"),
    2: re.compile(f"norm linear ?(activation linear|linear activation)( dropout)* gate{_BEHIND}"),
}
"""What an MLP with a gate does, by the linear layers in front: one that gives both, or two."""


class UnknownError(Exception):
    """A branch does something that this module does not know."""


@dataclass(frozen=True, slots=True)
class BranchLayer:
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
    def of(cls, network: Network, node: fx.Node) -> "BranchLayer | None":
        """The layer that a node calls, as a module or as a function of weights; None if none.

        Raises:
            UnknownError: it is called twice, shares its weights, or is not a plain one.
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
                raise UnknownError(f"holds {path}, which {reason}")
            return cls(path, module.in_features, module.out_features, node.all_input_nodes[0])
        if node.op != "call_function" or node.target is not F.linear:
            return None
        weight = node.kwargs.get("weight", node.args[1] if len(node.args) > 1 else None)
        if not isinstance(weight, fx.Node) or weight.op != "get_attr":
            raise UnknownError(f"has a linear layer of weights that are computed ({node.name})")
        outputs, inputs = weight.meta["shape"]
        return cls(str(weight.target).rpartition(".")[0], inputs, outputs, node.all_input_nodes[0])


@dataclass(frozen=True, slots=True)
class Parts:
    """The nodes of a branch, by what they do.

    Attributes:
        linear: linear layers.
        norms: layer norms.
        products: attention of queries, keys and values.
        activations: by name in the chain's words.
        scales: factors of channels.
        steps: what each node does, in order, in a word.
        turned: negations, one for each tensor that rotary positions turn.
        rms: of each norm, whether it is by the root mean square.
    """

    linear: list[BranchLayer] = field(default_factory=list)
    norms: list[fx.Node] = field(default_factory=list)
    products: list[fx.Node] = field(default_factory=list)
    activations: list[fx.Node] = field(default_factory=list)
    scales: list[fx.Node] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    turned: list[fx.Node] = field(default_factory=list)
    rms: list[bool] = field(default_factory=list)

    @classmethod
    def of(cls, network: Network, inside: Sequence[fx.Node]) -> "Parts":
        """Sort a branch's nodes.

        Raises:
            UnknownError: one is none of these.
        """
        parts = cls()
        for node in inside:
            module = network.module(node)
            if (layer := BranchLayer.of(network, node)) is not None:
                parts.linear.append(layer)
                parts.steps.append("linear" if module is not None else "function")
            elif is_norm(network, node):
                parts.norms.append(node)
                parts.rms.append(is_rms_norm(network, node))
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
                raise UnknownError(f"has a {called} inside ({node.name})")
        return parts

    @property
    def is_rms(self) -> bool:
        """Whether the norms are by the root mean square.

        Raises:
            UnknownError: some are, some are not.
        """
        if len(set(self.rms)) > 1:
            raise UnknownError("has norms of two kinds")
        return self.rms[0]


def is_norm(network: Network, node: fx.Node) -> bool:
    """Whether a node is a norm of tokens' channels, or of those of a head."""
    if is_plain(network.module(node), nn.LayerNorm, LayerNorm):
        return True
    is_layer_norm = node.op == "call_function" and node.target is F.layer_norm
    return is_layer_norm or is_rms_norm(network, node)


def is_rms_norm(network: Network, node: fx.Node) -> bool:
    """Whether a node is a norm by the root mean square."""
    if is_plain(network.module(node), nn.RMSNorm, RmsNorm):
        return True
    return node.op == "call_function" and node.target in {F.rms_norm, torch.rms_norm}


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


def mlp_of(network: Network, parts: Parts, source: fx.Node, inside: Sequence[fx.Node]) -> Mlp:
    """The MLP that a branch's nodes compute.

    Args:
        network: that holds them.
        parts: what they do.
        source: what the first of them reads, its channels last.
        inside: the nodes, in order.

    Raises:
        UnknownError: they compute something else.
    """
    steps, channels = " ".join(parts.steps), source.meta["shape"][-1]
    gated = next((layers for layers, form in _GATED.items() if form.fullmatch(steps)), 0)
    if not gated and not _PLAIN.fullmatch(steps):
        raise UnknownError(f"is neither attention nor an MLP: {', '.join(parts.steps)}")
    for before, node in pairwise(() if gated else (source, *inside)):
        if [each for each in node.all_input_nodes if each not in network.constants] != [before]:
            raise UnknownError(f"is not one row of layers: {node.name} reads something else")
    *first, last = parts.linear
    given = (2 if gated == 1 else 1) * last.inputs
    if {(each.inputs, each.outputs) for each in first} != {(channels, given)}:
        raise UnknownError("has linear layers that do not follow each other")
    activation = node_activation(parts.activations[0], network.modules)
    if activation is None or last.outputs != channels:
        raise UnknownError(f"has an activation that is not known ({parts.activations[0]})")
    return Mlp(
        channels, last.inputs, str(activation), bool(parts.scales), gated, len(parts.norms) > 1,
        rms=parts.is_rms,
    )  # fmt: skip


def path_of(parts: Parts) -> str:
    """The path of the module that holds all linear layers of a branch."""
    paths = [layer.path.replace(".", "/") for layer in parts.linear]
    return posixpath.commonpath(paths).replace("/", ".") or parts.linear[0].path
