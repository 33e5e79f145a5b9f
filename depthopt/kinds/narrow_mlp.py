"""``narrow`` for a transformer's MLP: fewer hidden units.

As for the branches of convolutions, those units stay that serve the branch's output best, what they
give stays what it was, and the layer behind them is regressed (``depthopt.rewrite.narrowing``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Block, Chain
from depthopt.core.operators import Convolution, Mlp
from depthopt.kinds.kind import Wishes
from depthopt.kinds.site import New, Site, Weights
from depthopt.kinds.widths import fewer_channels
from depthopt.rewrite.problem import Problem, sums_bytes

if TYPE_CHECKING:  # torch takes seconds to import, and tables are solved without it
    from torch import Tensor, fx, nn


def is_mlp(candidate: Candidate) -> bool:
    """Whether a candidate is an MLP with fewer hidden units."""
    match candidate.operators:
        case (Mlp(),):
            return True
    return False


def of_mlps(chain: Chain, wishes: Wishes, name: str, most_bytes: int) -> Iterator[Candidate]:
    """A few widths of every MLP.

    Args:
        chain: the network.
        wishes: with the widths.
        name: of the kind.
        most_bytes: of a regression's sums.
    """
    for start, end in wishes.segments:
        own = chain.blocks[start].operator
        if end != start + 1 or not isinstance(own, Mlp) or chain.open_skips(start, end):
            continue
        whole = _whole(own, own.hidden)
        if sums_bytes(whole, whole.out_channels) > most_bytes:
            continue
        for hidden in fewer_channels(own.hidden, wishes.widths, wishes.width_step):
            detail = f"{own.hidden} channels"
            yield Candidate(start, end, name, (replace(own, hidden=hidden),), None, detail)


def why_no_mlp(chain: Chain, candidate: Candidate) -> str | None:
    """Why a plan cannot narrow an MLP so. None if it can."""
    own, new = chain.blocks[candidate.start].operator, _operator(candidate)
    one = candidate.end == candidate.start + 1
    same = one and isinstance(own, Mlp) and replace(own, hidden=new.hidden) == new
    if not (same and new.hidden < _hidden(candidate) == getattr(own, "hidden", 0)):
        return "is not a narrower form of this block"
    return chain.why_illegal(candidate.start, candidate.end)


def width_of_mlp(candidate: Candidate) -> float:
    """The share of the hidden units that stay."""
    return _operator(candidate).hidden / _hidden(candidate)


def problem_of_mlp(candidate: Candidate) -> Problem:
    """The layer behind the hidden units, regressed for those that stay."""
    operator = _operator(candidate)
    whole = _whole(operator, _hidden(candidate))
    return Problem(whole, channels=operator.hidden, hidden=True)


def start_of_mlp(network: "fx.GraphModule", chain: Chain, candidate: Candidate) -> Weights:
    """The weight (C, hidden, 1, 1) and bias of that layer with the LayerScale behind it."""
    layers = _Layers.of(network, chain.blocks[candidate.start])
    scale, weight = layers.scale, layers.last.weight.detach()
    own = layers.last.bias
    bias = weight.new_zeros(len(weight)) if own is None else own.detach()
    return (((scale[:, None] * weight)[:, :, None, None], scale * bias),)


def reads_of_mlp(chain: Chain, candidate: Candidate) -> set[str]:
    """The nodes of what ``output_of_mlp`` needs."""
    block = chain.blocks[candidate.start]
    return {block.input, str(block.hidden)}


def output_of_mlp(
    chain: Chain, candidate: Candidate, weights: Weights, values: "Mapping[str, Tensor]"
) -> "Tensor":
    """The tokens (N, T, C) behind the add, by weights that are 0 for the units that go."""
    import torch.nn.functional as F  # noqa: N812, PLC0415 - torch's own convention; it takes seconds

    block, ((weight, bias),) = chain.blocks[candidate.start], weights
    return values[block.input] + F.linear(values[str(block.hidden)], weight.flatten(1), bias)


@dataclass(frozen=True, slots=True)
class _Layers:
    """The two linear layers of an MLP, and the factors behind them.

    Attributes:
        first_path: of the first.
        first: the layer that gives the hidden units.
        last_path: of the last.
        last: the layer that reads them.
        scale: (C,) of LayerScale; ones without it.
    """

    first_path: str
    first: "nn.Linear"
    last_path: str
    last: "nn.Linear"
    scale: "Tensor"

    @classmethod
    def of(cls, network: "fx.GraphModule", block: Block) -> "_Layers":
        """Find those of a block."""
        import operator  # noqa: PLC0415 - with torch

        from torch import nn  # noqa: PLC0415 - torch takes seconds

        nodes = {node.name: node for node in network.graph.nodes}
        hidden = nodes[str(block.hidden)]
        last, scale = next(iter(hidden.users)), None
        node = last
        while node.name != block.linear:
            node = next(iter(node.users))
            weights = [each for each in node.all_input_nodes if each.op == "get_attr"]
            if weights:
                scale = operator.attrgetter(str(weights[0].target))(network).detach()
        first = hidden
        while first.op != "call_module" or not isinstance(
            network.get_submodule(str(first.target)), nn.Linear
        ):
            first = first.all_input_nodes[0]
        paths = str(first.target), str(last.target)
        one, two = (network.get_submodule(path) for path in paths)
        assert isinstance(one, nn.Linear)  # noqa: S101 - narrows nn.Module: found so
        assert isinstance(two, nn.Linear)  # noqa: S101 - narrows nn.Module: what an MLP ends in
        scale = one.weight.new_ones(two.out_features) if scale is None else scale
        return cls(paths[0], one, paths[1], two, scale)


@dataclass(frozen=True, slots=True)
class NarrowedMlp(New):
    """An MLP with fewer hidden units, of which the first stay until it is known which should.

    Attributes:
        layers: of the original.
    """

    layers: _Layers


def install_mlp(site: Site, candidate: Candidate) -> NarrowedMlp:
    """Put narrower layers in the place of the two."""
    from torch import nn  # noqa: PLC0415 - torch takes seconds

    block, hidden = site.chain.blocks[candidate.start], _operator(candidate).hidden
    layers = _Layers.of(site.network, block)
    first = nn.Linear(layers.first.in_features, hidden, bias=layers.first.bias is not None)
    last = nn.Linear(hidden, layers.last.out_features)
    for path, layer in ((layers.first_path, first), (layers.last_path, last)):
        site.network.set_submodule(path, layer.to(layers.first.weight).eval())
    return NarrowedMlp(str(block.reader), block.linear, layers)


def set_mlp(
    network: "fx.GraphModule", new: NarrowedMlp, candidate: Candidate, weights: Weights
) -> None:
    """Give the two layers what is kept of the first, and what was regressed of the last."""
    import torch  # noqa: PLC0415 - it takes seconds

    from depthopt.rewrite.narrowing import channels_of  # noqa: PLC0415 - as above

    ((weight, bias),), layers = weights, new.layers
    stays = channels_of(weight, _operator(candidate).hidden)
    first, last = (network.get_submodule(path) for path in (layers.first_path, layers.last_path))
    scale = torch.where(layers.scale == 0, 1.0, layers.scale.double())
    with torch.no_grad():
        first.get_parameter("weight").copy_(layers.first.weight[stays])
        if layers.first.bias is not None:
            first.get_parameter("bias").copy_(layers.first.bias[stays])
        rows = weight.flatten(1)[:, stays].double() / scale[:, None]
        last.get_parameter("weight").copy_(rows)
        last.get_parameter("bias").copy_(bias.double() / scale)


def _operator(candidate: Candidate) -> Mlp:
    (operator,) = candidate.operators
    assert isinstance(operator, Mlp)  # noqa: S101 - narrows Operator: is_mlp says so
    return operator


def _hidden(candidate: Candidate) -> int:
    """The hidden units of the original."""
    count = candidate.detail.removesuffix(" channels")
    return int(count) if count.isascii() and count.isdigit() else 0


def _whole(operator: Mlp, hidden: int) -> Convolution:
    """What the layer behind the hidden units computes of all of them, as a map."""
    return Convolution(hidden, operator.channels, (1, 1))
