"""What linear layers and attention take that lie between blocks."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from torch import fx, nn

from depthopt.core.chain import Chain, Skip
from depthopt.extraction.network import Network
from depthopt.extraction.transformer import attention_macs


def macs_between(
    network: Network, chain: Chain, layers: Sequence[fx.Node]
) -> tuple[tuple[Skip, ...], Counter[int]]:
    """The skips with the multiply-accumulates that go with them, and all others by position.

    Args:
        network: the traced network.
        chain: its blocks and skips.
        layers: the node that reads each block's tensor.
    """
    left = _outside(network, chain, layers)
    nodes, found = {node.name: node for node in network.nodes}, dict[Skip, int]()
    for skip in sorted(chain.skips, key=lambda each: each.target - each.source):
        if skip.gated:
            ends = nodes[chain.blocks[skip.source].input], nodes[skip.add]
            inside = [node for node in left if network.regions.holds(*ends, node)]
            found[skip] = sum(left.pop(node)[1] for node in inside)
    by_position = Counter[int]()
    for position, macs in left.values():
        by_position[position] += macs
    return tuple(replace(skip, macs=found.get(skip, 0)) for skip in chain.skips), by_position


def _outside(
    network: Network, chain: Chain, layers: Sequence[fx.Node]
) -> dict[fx.Node, tuple[int, int]]:
    """The position and multiply-accumulates of each node that takes any and is in no block."""
    found, position, end = dict[fx.Node, tuple[int, int]](), 0, ""
    blocks = dict(zip(layers, chain.blocks, strict=True))
    for node in network.nodes:
        end = "" if node.name == end else end
        if node in blocks:
            position += 1
            end = "" if blocks[node].reader is None else blocks[node].preactivation
        if end:  # inside a branch, which is a block
            continue
        module, macs = network.module(node), attention_macs(node)
        if isinstance(module, nn.Linear):
            macs = math.prod(node.meta["shape"]) * module.in_features
        if macs:
            found[node] = position, macs
    return found
