"""Find layers: convolutions with the norm behind them, norms that stand alone, MLPs of channels."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx, nn

from depthopt.core.chain import Layer, Unused
from depthopt.core.counted import counted
from depthopt.extraction.channel_mlp import ChannelMlp, find_channel_mlps
from depthopt.extraction.network import Network
from depthopt.graph.convolutions import is_foldable_norm, operator_of, sole_user, why_opaque


@dataclass(frozen=True, slots=True)
class Layers:
    """What blocks are made of: convolutions, norms, and MLPs of a map's channels.

    Attributes:
        linear: by the node of each, in order, the node of its norm's output; its own where it
            has no norm. Of an MLP what reads its map, and what gives its output.
        mlps: the MLPs, by what reads their map.
        unused: those that cannot be replaced, and why.
    """

    linear: dict[fx.Node, fx.Node]
    mlps: dict[fx.Node, ChannelMlp]
    unused: tuple[Unused, ...]

    def ending_in(self, node: fx.Node) -> fx.Node | None:
        """The layer whose output, norm included, is this node's."""
        return next((layer for layer, linear in self.linear.items() if linear is node), None)


def find_layers(network: Network) -> Layers:
    """All layers of a network, by what reads the tensor before each."""
    linear: dict[fx.Node, fx.Node] = {}
    unused: list[Unused] = []
    absorbed, mlps = set(), find_channel_mlps(network)
    for node in network.nodes:
        module = network.module(node)
        unused += _hidden(node, module)
        if node in mlps:
            linear[node] = mlps[node].output
        elif isinstance(module, nn.Conv2d):
            if (reason := _why_unusable(network, node, module)) is not None:
                unused.append(Unused(str(node.target), reason))
                continue
            linear[node] = _behind_norm(network, node)
            absorbed.add(linear[node])
        elif isinstance(module, nn.BatchNorm2d) and node not in absorbed:
            if (reason := network.shared.get(str(node.target))) is not None:
                unused.append(Unused(str(node.target), reason))
            elif _why_unusable(network, node, module) is None:
                linear[node] = node
    return Layers(linear, mlps, tuple(unused))


def layer_at(network: Network, node: fx.Node) -> Layer:
    """A layer as a value, with its norm folded in."""
    name = str(node.target)
    return Layer(name, operator_of(network.modules[name]))


def _why_unusable(network: Network, node: fx.Node, module: nn.Module) -> str | None:
    if (calls := network.calls[node.target]) > 1:
        return f"is called {calls} times with shared weights"
    if len(node.meta.get("shape", ())) != 4:
        return "its output is not a (N, C, H, W) tensor"
    return why_opaque(module) or network.shared.get(str(node.target))


def _behind_norm(network: Network, conv: fx.Node) -> fx.Node:
    user = sole_user(conv)
    if user is not None and network.calls[user.target] == 1:
        norm = network.module(user)
        own = user.target not in network.shared
        if norm is not None and own and is_foldable_norm(norm):
            return user
    return conv


def _hidden(node: fx.Node, module: nn.Module | None) -> Iterator[Unused]:
    """The convolutions and linear layers that an opaque leaf holds."""
    if isinstance(module, torch.jit.ScriptModule):
        yield Unused(str(node.target), "is TorchScript; give the module that it was made of")
    parts = [] if module is None else [part for part in module.modules() if part is not module]
    kinds = (nn.Conv2d, "convolution"), (nn.Linear, "linear layer")
    counts = [(sum(isinstance(part, kind) for part in parts), what) for kind, what in kinds]
    if hidden := " and ".join(counted(count, what) for count, what in counts if count):
        yield Unused(str(node.target), f"{type(module).__name__} hides {hidden} from tracing")
