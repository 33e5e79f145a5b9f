"""The positions that segments may not cross, or only as part of larger ones."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from torch import fx, nn

from depthopt.core.chain import Barrier, Chain
from depthopt.extraction.network import Network
from depthopt.extraction.transformer import attention_macs
from depthopt.graph.constants import is_size


def barriers(network: Network, chain: Chain, layers: Sequence[fx.Node]) -> Iterator[Barrier]:
    """Find what lies between two blocks and is not a block.

    Args:
        network: the traced network.
        chain: its blocks and skips.
        layers: the node of each block's convolution or norm.
    """
    nodes = {node.name: node for node in network.nodes}
    regions = network.regions.around_barriers(chain, nodes)
    branches = {layer.name for skip in chain.skips for layer in skip.branch}
    macs = _macs_between(network, chain, layers)
    for position in range(1, len(layers)):
        before = nodes[chain.ending(0, position).output]
        after = layers[position]
        source = after.all_input_nodes[0]
        if source is not before:
            what = _what(network, source)
            yield Barrier(position, source.name, what, regions(position), macs[position])
            continue
        own = {after.name} | {s.add for s in chain.skips if s.source == position}
        for user in before.users:
            if user.name not in own and user.target not in branches and not is_size(user):
                reason = f"also read by {_what(network, user)}"
                yield Barrier(position, user.name, reason, regions(position), macs[position])
                break


def _macs_between(network: Network, chain: Chain, layers: Sequence[fx.Node]) -> Counter[int]:
    """By position, the multiply-accumulates of linear layers and attention that are no block's."""
    found, position, end = Counter[int](), 0, ""
    blocks = dict(zip(layers, chain.blocks, strict=True))
    for node in network.nodes:
        end = "" if node.name == end else end
        if node in blocks:
            position += 1
            end = "" if blocks[node].reader is None else blocks[node].preactivation
        if end:  # inside a branch, which is a block
            continue
        module = network.module(node)
        if isinstance(module, nn.Linear):
            found[position] += math.prod(node.meta["shape"]) * module.in_features
        found[position] += attention_macs(node)
    return found


def _what(network: Network, node: fx.Node) -> str:
    if node.op == "call_module":
        return f"{type(network.module(node)).__name__} {node.target}"
    if node.op == "placeholder":
        return "the network's input"
    return f"{getattr(node.target, '__name__', node.target)} ({node.name})"
