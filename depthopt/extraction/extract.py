"""Extract the chain of a traced network: blocks, skips, barriers, and what was not used."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from timm.layers import RmsNorm
from torch import fx, nn

from depthopt.core.chain import Block, Chain, Ending, Layer, Layout, Skip, Unused
from depthopt.core.inputs import InputSize
from depthopt.errors import ModelError
from depthopt.extraction.activation import activation_behind
from depthopt.extraction.average_pooling import pooling_at
from depthopt.extraction.barriers import barriers
from depthopt.extraction.convolution import Layers, find_layers, layer_at
from depthopt.extraction.gates import gates
from depthopt.extraction.macs import macs_between, product_macs
from depthopt.extraction.network import Network, size_of
from depthopt.extraction.sums import Sum, find_sums
from depthopt.extraction.transformer import find_residuals
from depthopt.graph.convolutions import operator_of, sole_user
from depthopt.graph.original import unwrapped
from depthopt.graph.trace import trace

_NEEDED = nn.Conv2d, nn.LayerNorm, nn.RMSNorm, RmsNorm
"""Modules of which every block has one."""


def extract(model: nn.Module, input_size: InputSize, *, name: str | None = None) -> Chain:
    """Find the chain of blocks in a model.

    Works from structure alone: the model is traced with torch.fx, every convolution
    with the norm and the activation behind it becomes a block, and so does every attention or MLP
    whose output is added to the tokens that it reads; adds become skips where
    one operand comes through blocks from the other's source, and whatever else reads or
    makes a tensor between two blocks becomes a barrier.

    Args:
        model: maps (N, C, H, W), or several named inputs, to one tensor; it is not changed.
        input_size: (C, H, W), or the named inputs as an ``InputSpec``.
        name: the model's name in messages and artefacts; its class by default.

    Raises:
        ModelError: the model cannot be traced, refuses the input size, holds weights
            that are not finite, or has nothing that could be used.
    """
    model = unwrapped(model)
    name = name or type(model).__name__
    if not any(isinstance(module, _NEEDED) for module in model.modules()):
        raise ModelError(
            f"{name} has no convolution (torch.nn.Conv2d), and no layer norm as transformers have; "
            "nothing to make shallower"
        )
    return chain_of(trace(model, input_size), input_size, name)


def chain_of(graph_module: fx.GraphModule, input_size: InputSize, name: str) -> Chain:
    """The chain of an already traced model."""
    network = Network.of(graph_module)
    layers = find_layers(network)
    sums, residuals = find_sums(network, layers), find_residuals(network)
    on_branches = {layer for sum_ in sums.found.values() for layer in sum_.branch.layers}
    of_residuals = {residual.reader: residual for residual in residuals.found}
    kept = {*layers.linear, *of_residuals} - on_branches
    block_layers = [node for node in network.nodes if node in kept]
    placed = {
        sum_: position
        for sum_ in sums.found.values()
        if (position := _source_position(network, block_layers, sum_)) is not None
    }
    misplaced = [
        Unused(sum_.node.name, "adds a tensor that is not a block's input")
        for sum_ in sums.found.values()
        if sum_ not in placed
    ]
    inside = {node.name for residual in residuals.found for node in residual.inside}
    of_sums = [each for each in (*sums.unused, *misplaced) if each.node not in inside]
    unused = (*layers.unused, *of_sums, *residuals.unused)
    if graph_module.meta.get("more_in_training"):
        unused += (Unused("output", "only the first of the outputs in training is kept"),)
    if not block_layers:
        reasons = "; ".join(f"{u.node}: {u.reason}" for u in unused[:3])
        if reasons:
            raise ModelError(f"no convolution of {name} can be used ({reasons})")
        raise ModelError(
            f"{name} has no convolution (torch.nn.Conv2d), and no attention or MLP that is added "
            "to the tokens it reads; nothing to make shallower"
        )
    chain = Chain(
        name,
        input_size,
        tuple(
            of_residuals[layer].block
            if layer in of_residuals
            else _block(network, layers, layer, tuple(placed))
            for layer in block_layers
        ),
        (
            *_skips(network, block_layers, placed),
            *(each.skip(block_layers.index(reader)) for reader, each in of_residuals.items()),
        ),
        barriers=(),
        unused=unused,
        conv_macs=graph_module.meta["conv_macs"],
        other_macs=graph_module.meta["linear_macs"]
        + sum(product_macs(network, node) for node in network.nodes),
    )
    skips, macs = macs_between(network, chain, block_layers)
    return replace(
        chain,
        skips=skips,
        barriers=tuple(barriers(network, chain, block_layers, macs)),
        gates=tuple(gates(network, chain, block_layers)),
    )


def _source_position(network: Network, layers: Sequence[fx.Node], sum_: Sum) -> int | None:
    """The position of a sum's source, if a block reads it there.

    Of several blocks upstream that do, it is the nearest; for a gated sum it is the
    first, so that all that lies between is covered.
    """
    if sum_.layer not in layers:
        return None
    last, source = layers.index(sum_.layer), sum_.branch.source
    if sum_.gated:
        inside = (
            position
            for position in range(last + 1)
            if network.regions.holds(source, sum_.node, layers[position])
        )
        first = next(inside)
        return first if layers[first].all_input_nodes[0] is source else None
    upstream = network.upstream(sum_.layer) | {sum_.layer}
    for position in reversed(range(last + 1)):
        layer = layers[position]
        if layer in upstream and layer.all_input_nodes[0] is source:
            return position
    return None


def _block(network: Network, layers: Layers, layer: fx.Node, sums: Sequence[Sum]) -> Block:
    linear = end = layers.linear[layer]
    own = {sum_.node for sum_ in sums if sum_.layer is layer and not sum_.behind}
    while (user := sole_user(end)) in own:
        end = user
    activation, output = activation_behind(network, end)
    source, mlp = layer.all_input_nodes[0], layers.mlps.get(layer)
    operator = mlp.operator if mlp else operator_of(network.modules[str(layer.target)])
    return Block(
        name=mlp.name if mlp else str(layer.target),
        operator=operator,
        layout=Layout(
            operator.in_channels, size_of(source), operator.out_channels, size_of(linear)
        ),
        activation=activation,
        input=source.name,
        linear=linear.name,
        preactivation=end.name,
        output=output.name,
        reader=mlp.reader.name if mlp else None,
        hidden=mlp.hidden.name if mlp else None,
    )


def _skips(network: Network, layers: Sequence[fx.Node], placed: dict[Sum, int]) -> Iterator[Skip]:
    """The skips that the blocks' sums close, in the order of the additions."""
    for target, layer in enumerate(layers, start=1):
        for sum_, source in placed.items():
            if sum_.layer is layer:
                yield Skip(
                    source,
                    target,
                    sum_.node.name,
                    sum_.branch.node.name,
                    tuple(_branch_layers(network, sum_)),
                    _ending(network, sum_.node) if sum_.behind else None,
                    sum_.gated,
                )


def _branch_layers(network: Network, sum_: Sum) -> Iterator[Layer]:
    *pools, projection = sum_.branch.layers or (None,)
    for pool in pools:
        if isinstance(layer := pooling_at(network, pool), Layer):
            yield layer
    if projection is not None:
        yield layer_at(network, projection)


def _ending(network: Network, add: fx.Node) -> Ending:
    activation, output = activation_behind(network, add)
    return Ending(add.name, activation, output.name, add.meta["shape"][1], size_of(add))
