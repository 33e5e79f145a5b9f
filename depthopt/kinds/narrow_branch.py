"""``narrow`` for a transformer's branches: an MLP's hidden units, or an attention's heads.

As for the branches of convolutions, those stay that serve the branch's output best, what they give
stays what it was, and the layer behind them is regressed (``depthopt.rewrite.narrowing``). Heads
stay or go as a whole.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import lcm
from typing import TYPE_CHECKING

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Block, Chain
from depthopt.core.operators import Attention, Convolution, Mlp, Operator
from depthopt.kinds.kind import Wishes
from depthopt.kinds.site import New, Site, Weights
from depthopt.kinds.widths import fewer_channels
from depthopt.rewrite.problem import Problem, sums_bytes

if TYPE_CHECKING:  # torch takes seconds to import, and tables are solved without it
    from torch import Tensor, fx, nn

    from depthopt.graph.heads import Written


def is_branch(candidate: Candidate) -> bool:
    """Whether a candidate is a narrower branch of a transformer."""
    match candidate.operators:
        case (Attention() | Mlp(),):
            return True
    return False


def of_branches(chain: Chain, wishes: Wishes, name: str, most_bytes: int) -> Iterator[Candidate]:
    """A few widths of every branch.

    Args:
        chain: the network.
        wishes: with the widths.
        name: of the kind.
        most_bytes: of a regression's sums.
    """
    for start, end in wishes.segments:
        block = chain.blocks[start]
        if end != start + 1 or block.hidden is None or chain.open_skips(start, end):
            continue
        hidden, together = _hidden(block.operator)
        whole = Convolution(hidden, block.layout.out_channels, (1, 1))
        if sums_bytes(whole, whole.out_channels) > most_bytes:
            continue
        for width in fewer_channels(hidden, wishes.widths, lcm(wishes.width_step, together)):
            yield of_width(block.operator, start, name, width)


def of_width(operator: Operator, start: int, name: str, width: int) -> Candidate:
    """A branch with fewer hidden channels.

    Args:
        operator: of the original.
        start: its block.
        name: of the kind.
        width: hidden channels that stay; of an attention those of its heads together.
    """
    hidden, together = _hidden(operator)
    narrower = (
        replace(operator, heads=width // together)
        if isinstance(operator, Attention)
        else replace(_mlp(operator), hidden=width)
    )
    return Candidate(start, start + 1, name, (narrower,), None, f"{hidden} channels")


def why_no_branch_so(chain: Chain, candidate: Candidate) -> str | None:
    """Why a plan cannot narrow a branch so. None if it can."""
    block = chain.blocks[candidate.start]
    hidden, _ = _hidden(block.operator)
    width, _ = _hidden(candidate.operators[0])
    fits = candidate.end == candidate.start + 1 and block.hidden is not None and width < hidden
    if not fits or candidate != of_width(block.operator, candidate.start, candidate.kind, width):
        return "is not a narrower form of this block"
    return chain.why_illegal(candidate.start, candidate.end)


def width_of_branch(candidate: Candidate) -> float:
    """The share of the hidden channels that stay."""
    return _hidden(candidate.operators[0])[0] / _before(candidate)


def problem_of_branch(candidate: Candidate) -> Problem:
    """The layer behind the hidden channels, regressed for those that stay."""
    operator, hidden = candidate.operators[0], _before(candidate)
    width, together = _hidden(operator)
    whole = Convolution(hidden, operator.out_channels, (1, 1))
    return Problem(whole, channels=width, together=together, hidden=True)


def start_of_branch(network: "fx.GraphModule", chain: Chain, candidate: Candidate) -> Weights:
    """The weight (C, hidden, 1, 1) and bias of that layer with the LayerScale behind it."""
    layers = _Layers.of(network, chain.blocks[candidate.start])
    scale, weight = layers.scale, layers.last.weight.detach()
    own = layers.last.bias
    bias = weight.new_zeros(len(weight)) if own is None else own.detach()
    return (((scale[:, None] * weight)[:, :, None, None], scale * bias),)


def reads_of_branch(chain: Chain, candidate: Candidate) -> set[str]:
    """The nodes of what ``output_of_branch`` needs."""
    block = chain.blocks[candidate.start]
    return {block.input, str(block.hidden)}


def output_of_branch(
    chain: Chain, candidate: Candidate, weights: Weights, values: "Mapping[str, Tensor]"
) -> "Tensor":
    """The tokens (N, T, C) behind the add, by weights that are 0 for the channels that go."""
    import torch.nn.functional as F  # noqa: N812, PLC0415 - torch's own convention; it takes seconds

    block, ((weight, bias),) = chain.blocks[candidate.start], weights
    return values[block.input] + F.linear(values[str(block.hidden)], weight.flatten(1), bias)


@dataclass(frozen=True, slots=True)
class _Layers:
    """The linear layers around the hidden channels of a branch, and the factors behind them.

    Attributes:
        first_path: of the first.
        first: the layer that the hidden channels come from; of an attention, queries, keys and
            values together.
        last_path: of the last.
        last: the layer that reads them.
        scale: (C,) of LayerScale; ones without it.
        heads: where an attention writes how many it has.
    """

    first_path: str
    first: "nn.Linear"
    last_path: str
    last: "nn.Linear"
    scale: "Tensor"
    heads: "tuple[Written, ...]"

    @classmethod
    def of(cls, network: "fx.GraphModule", block: Block) -> "_Layers":
        """Find those of a block."""
        import operator  # noqa: PLC0415 - with torch

        from torch import nn  # noqa: PLC0415 - torch takes seconds

        from depthopt.graph.heads import heads_written  # noqa: PLC0415 - as above

        nodes = {node.name: node for node in network.graph.nodes}
        hidden = first = nodes[str(block.hidden)]
        last, scale = next(iter(hidden.users)), None
        node = last
        while node.name != block.linear:
            node = next(iter(node.users))
            weights = [each for each in node.all_input_nodes if each.op == "get_attr"]
            if weights:
                scale = operator.attrgetter(str(weights[0].target))(network).detach()
        while first.op != "call_module" or not isinstance(
            network.get_submodule(str(first.target)), nn.Linear
        ):
            first = first.all_input_nodes[0]
        paths = str(first.target), str(last.target)
        one, two = (network.get_submodule(path) for path in paths)
        assert isinstance(one, nn.Linear)  # noqa: S101 - narrows nn.Module: found so
        assert isinstance(two, nn.Linear)  # noqa: S101 - narrows nn.Module: what a branch ends in
        scale = one.weight.new_ones(two.out_features) if scale is None else scale
        heads = None
        if isinstance(block.operator, Attention):
            heads = heads_written(hidden, block.operator)
        return cls(paths[0], one, paths[1], two, scale, heads or ())

    def rows(self, stays: "Tensor") -> "Tensor":
        """The rows of the first layer that give the hidden channels that stay."""
        import torch  # noqa: PLC0415 - it takes seconds

        whole = self.last.in_features
        return torch.cat([stays + i * whole for i in range(self.first.out_features // whole)])


@dataclass(frozen=True, slots=True)
class NarrowedBranch(New):
    """A branch with fewer hidden channels. Which is not known before it is regressed.

    Attributes:
        layers: of the original.
    """

    layers: _Layers


def install_branch(site: Site, candidate: Candidate) -> NarrowedBranch:
    """Put narrower layers in the place of the two."""
    from torch import nn  # noqa: PLC0415 - torch takes seconds

    block = site.chain.blocks[candidate.start]
    (width, together), layers = _hidden(candidate.operators[0]), _Layers.of(site.network, block)
    times = layers.first.out_features // layers.last.in_features
    has_bias = layers.first.bias is not None
    first = nn.Linear(layers.first.in_features, times * width, bias=has_bias)
    last = nn.Linear(width, layers.last.out_features)
    for path, layer in ((layers.first_path, first), (layers.last_path, last)):
        site.network.set_submodule(path, layer.to(layers.first.weight).eval())
    for written in layers.heads:
        written.set(width // together)
    return NarrowedBranch(str(block.reader), block.linear, layers)


def set_branch(
    network: "fx.GraphModule", new: NarrowedBranch, candidate: Candidate, weights: Weights
) -> None:
    """Give the two layers what is kept of the first, and what was regressed of the last."""
    import torch  # noqa: PLC0415 - it takes seconds

    from depthopt.rewrite.narrowing import channels_of  # noqa: PLC0415 - as above

    ((weight, bias),), layers = weights, new.layers
    stays = channels_of(weight, *_hidden(candidate.operators[0]))
    rows = layers.rows(stays)
    first, last = (network.get_submodule(path) for path in (layers.first_path, layers.last_path))
    scale = torch.where(layers.scale == 0, 1.0, layers.scale.double())
    with torch.no_grad():
        first.get_parameter("weight").copy_(layers.first.weight[rows])
        if layers.first.bias is not None:
            first.get_parameter("bias").copy_(layers.first.bias[rows])
        kept = weight.flatten(1)[:, stays].double() / scale[:, None]
        last.get_parameter("weight").copy_(kept)
        last.get_parameter("bias").copy_(bias.double() / scale)


def _mlp(operator: Operator) -> Mlp:
    assert isinstance(operator, Mlp)  # noqa: S101 - narrows Operator: no other branch there is
    return operator


def _hidden(operator: Operator) -> tuple[int, int]:
    """The hidden channels of a branch, and how many of them stay or go together."""
    match operator:
        case Attention():
            return operator.width, operator.head_width
        case Mlp():
            return operator.hidden, 1
    return 0, 1


def _before(candidate: Candidate) -> int:
    """The hidden channels of the original."""
    count = candidate.detail.removesuffix(" channels")
    return int(count) if count.isascii() and count.isdigit() else 1
