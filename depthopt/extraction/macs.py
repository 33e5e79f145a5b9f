"""Multiply-accumulates of linear layers and of products, such as those of attention."""

import math
import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import fx, nn

from depthopt.core.chain import Chain, Skip
from depthopt.extraction.network import Network

_PRODUCTS = frozenset({operator.matmul, torch.matmul, torch.bmm, F.linear})
"""Functions whose second argument is a matrix, or several."""

_METHODS = frozenset({"bmm", "matmul"})


def product_macs(network: Network, node: fx.Node) -> int:
    """Multiply-accumulates, for one image, of a product of no module; 0 of anything else."""
    shape = node.meta.get("shape")
    if shape is None or node in network.constants:
        return 0
    if node.target is F.scaled_dot_product_attention:
        keys = node.kwargs.get("key", node.args[1] if len(node.args) > 1 else None)
        return (
            int(2 * math.prod(shape) * keys.meta["shape"][-2]) if isinstance(keys, fx.Node) else 0
        )
    if node.target is torch.einsum:
        return _einsum_macs(node)
    is_method = node.op == "call_method" and node.target in _METHODS
    is_function = node.op == "call_function" and node.target in _PRODUCTS
    if not is_method and not is_function:
        return 0
    return int(math.prod(shape) * node.all_input_nodes[0].meta["shape"][-1])


def _einsum_macs(node: fx.Node) -> int:
    """Of a product of different tensors whose indices are all letters; 0 of any other."""
    equation, inputs = str(node.args[0]).replace(" ", ""), node.all_input_nodes
    sizes: dict[str, int] = {}
    terms = equation.partition("->")[0].split(",")
    if len(terms) != len(inputs) or "." in equation:
        return 0
    for term, each in zip(terms, inputs, strict=True):
        sizes |= dict(zip(term, each.meta["shape"], strict=True))
    return math.prod(sizes.values())


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
        module, macs = network.module(node), product_macs(network, node)
        if isinstance(module, nn.Linear):
            macs = math.prod(node.meta["shape"]) * module.in_features
        if macs:
            found[node] = position, macs
    return found
