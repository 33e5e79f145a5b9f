"""The positions that segments may not cross, or only as part of larger ones."""

from collections.abc import Iterator, Mapping, Sequence

from torch import fx

from depthopt.core.chain import Barrier, Chain
from depthopt.extraction.network import Network
from depthopt.graph.constants import is_size


def barriers(
    network: Network, chain: Chain, layers: Sequence[fx.Node], macs: Mapping[int, int]
) -> Iterator[Barrier]:
    """Find what lies between two blocks and is not a block.

    Args:
        network: the traced network.
        chain: its blocks and skips.
        layers: the node of each block's convolution or norm.
        macs: by position, what linear layers and attention take that are no block's.
    """
    nodes = {node.name: node for node in network.nodes}
    regions = network.regions.around_barriers(chain, nodes)
    branches = {layer.name for skip in chain.skips for layer in skip.branch}
    for position in range(1, len(layers)):
        before = nodes[chain.ending(0, position).output]
        after = layers[position]
        source = after.all_input_nodes[0]
        if source is not before:
            what = _what(network, source)
            yield Barrier(position, source.name, what, regions(position), macs.get(position, 0))
            continue
        own = {after.name} | {s.add for s in chain.skips if s.source == position}
        for user in before.users:
            if user.name not in own and user.target not in branches and not is_size(user):
                reason = f"also read by {_what(network, user)}"
                yield Barrier(position, user.name, reason, regions(position), macs.get(position, 0))
                break


def _what(network: Network, node: fx.Node) -> str:
    if node.op == "call_module":
        return f"{type(network.module(node)).__name__} {node.target}"
    if node.op == "placeholder":
        return "the network's input"
    return f"{getattr(node.target, '__name__', node.target)} ({node.name})"
