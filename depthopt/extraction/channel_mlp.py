"""Find MLPs of each pixel's channels, as ConvNeXt has them behind its depthwise convolutions.

A map (N, C, H, W) is arranged with its channels last, goes through a layer norm and two linear
layers with an activation between, and is arranged back: an MLP of each pixel. Its output may be
multiplied with a factor for each channel (LayerScale). Nothing else reads what lies between. One
with anything else inside stays what it was.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import mul

import torch
from timm.layers import DropPath, drop_path
from torch import fx

from depthopt.core.operators import Mlp
from depthopt.extraction.branch_parts import Parts, UnknownError, is_norm, mlp_of, path_of
from depthopt.extraction.network import Network
from depthopt.graph.convolutions import sole_user
from depthopt.graph.plain import is_plain

_LONGEST = 16
"""Most nodes between the two arrangements."""


@dataclass(frozen=True, slots=True)
class ChannelMlp:
    """An MLP of each pixel's channels.

    Attributes:
        name: path of what holds its linear layers.
        operator: what it computes.
        reader: what arranges the channels last.
        hidden: what its last linear layer reads (N, H, W, hidden).
        output: its output (N, C, H, W).
    """

    name: str
    operator: Mlp
    reader: fx.Node
    hidden: fx.Node
    output: fx.Node


def find_channel_mlps(network: Network) -> dict[fx.Node, ChannelMlp]:
    """The MLPs of a network's maps, by what reads the map, in order."""
    found = (_read(network, node) for node in network.nodes if _arranges(node, (0, 2, 3, 1)))
    return {mlp.reader: mlp for mlp in found if mlp is not None}


def _read(network: Network, reader: fx.Node) -> ChannelMlp | None:
    inside = list(_inside(reader))
    back = sole_user(inside[-1]) if inside else None
    if back is None or not is_norm(network, inside[0]):
        return None
    try:
        parts = Parts.of(network, inside)
        operator = mlp_of(network, parts, reader, inside)
    except UnknownError:
        return None
    output, scaled = back, False
    if (user := sole_user(back)) is not None and _is_scale(network, user, operator.channels):
        output, scaled = user, True
    user = sole_user(output)
    if user is not None and (user.target is drop_path or is_plain(network.module(user), DropPath)):
        output = user
    if operator.gated or operator.normed or operator.scaled:
        return None
    operator = replace(operator, scaled=scaled, maps=True)
    return ChannelMlp(path_of(parts), operator, reader, parts.linear[-1].reads, output)


def _inside(reader: fx.Node) -> Iterator[fx.Node]:
    """The nodes between two arrangements; none if there is no second one."""
    found, node = list[fx.Node](), sole_user(reader)
    while node is not None and len(found) <= _LONGEST:
        if _arranges(node, (0, 3, 1, 2)):
            yield from found
            return
        found.append(node)
        node = sole_user(node)


def _arranges(node: fx.Node, order: tuple[int, ...]) -> bool:
    """Whether a node permutes four dimensions so."""
    is_method = node.op == "call_method" and node.target == "permute"
    if not is_method and node.target is not torch.permute:
        return False
    orders = node.args[1:]
    given = orders[0] if len(orders) == 1 and isinstance(orders[0], tuple | list) else orders
    return tuple(given) == order


def _is_scale(network: Network, node: fx.Node, channels: int) -> bool:
    """Whether a node multiplies each channel of a map by a weight, arranged or as it is."""
    if node.target not in {mul, torch.mul} and (node.op, node.target) != ("call_method", "mul"):
        return False
    scales = [each for each in node.all_input_nodes if each in network.constants]
    weights = [each.all_input_nodes[0] if each.op == "call_method" else each for each in scales]
    if any(weight.op != "get_attr" for weight in weights):
        return False
    shapes = [tuple(each.meta.get("shape") or ()) for each in scales]
    return [shape[-3:] for shape in shapes] == [(channels, 1, 1)] and all(
        math.prod(shape) == channels for shape in shapes
    )
