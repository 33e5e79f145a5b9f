"""``narrow`` for attention's heads, and hidden units of the MLPs of tokens or of pixels' channels.

As for the branches of convolutions, those stay that serve the branch's output best, what they give
stays what it was, and the layer behind them is regressed (``depthopt.rewrite.narrowing``). Heads
stay or go as a whole. The functions are those of a ``Kind``; ``narrow`` calls them for branches.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import lcm
from typing import TYPE_CHECKING

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Attention, Convolution, Mlp, Operator
from depthopt.kinds.kind import Wishes
from depthopt.kinds.site import New, Site, Weights
from depthopt.kinds.widths import fewer_channels
from depthopt.rewrite.options import Form
from depthopt.rewrite.problem import Problem, sums_bytes

if TYPE_CHECKING:  # torch takes seconds to import, and tables are solved without it
    from torch import Tensor, fx

    from depthopt.rewrite.branch_layers import BranchLayers
    from depthopt.rewrite.regression import Regression


def is_branch(candidate: Candidate) -> bool:
    """Whether a candidate is a narrower branch of a transformer."""
    match candidate.operators:
        case (Attention() | Mlp(),):
            return True
    return False


def candidates(chain: Chain, wishes: Wishes, name: str, most_bytes: int) -> Iterator[Candidate]:
    """A few widths of every branch.

    Args:
        chain: the network.
        wishes: with the widths.
        name: of the kind.
        most_bytes: of a regression's sums.
    """
    for start, end in wishes.segments:
        block = chain.blocks[start]
        if end != start + 1 or block.hidden is None:
            continue
        hidden, together = _hidden(block.operator)
        if not hidden:
            continue
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


def why_not(chain: Chain, candidate: Candidate) -> str | None:
    """Why a plan cannot narrow a branch so. None if it can."""
    block = chain.blocks[candidate.start]
    hidden, _ = _hidden(block.operator)
    width, _ = _hidden(candidate.operators[0])
    fits = candidate.end == candidate.start + 1 and block.hidden is not None and width < hidden
    if not fits or candidate != of_width(block.operator, candidate.start, candidate.kind, width):
        return "is not a narrower form of this block"
    return chain.why_illegal(candidate.start, candidate.end)


def width(_: Chain, candidate: Candidate) -> float:
    """The share of the hidden channels that stay."""
    return _hidden(candidate.operators[0])[0] / _before(candidate)


def problem(candidate: Candidate, _: Form) -> Problem:
    """The layer behind the hidden channels, regressed for those that stay."""
    operator, hidden = candidate.operators[0], _before(candidate)
    width, together = _hidden(operator)
    whole = Convolution(hidden, operator.out_channels, (1, 1))
    return Problem(whole, channels=width, together=together, hidden=True)


def start(network: "fx.GraphModule", chain: Chain, candidate: Candidate) -> Weights:
    """The weight (C, hidden, 1, 1) and bias of that layer with the LayerScale behind it."""
    from depthopt.rewrite.branch_layers import BranchLayers  # noqa: PLC0415 - torch takes seconds

    return (BranchLayers.of(network, chain.blocks[candidate.start]).weights(),)


def reads(chain: Chain, candidate: Candidate) -> set[str]:
    """The nodes of what ``output`` needs."""
    block = chain.blocks[candidate.start]
    return {block.input, str(block.hidden)}


def output(
    chain: Chain, candidate: Candidate, weights: Weights, values: "Mapping[str, Tensor]"
) -> "Tensor":
    """The tokens (N, T, C) behind the add, by weights that are 0 for the channels that go.

    Of a map's MLP the map (N, C, H, W) before any add.
    """
    import torch.nn.functional as F  # noqa: N812, PLC0415 - torch's own convention; it takes seconds

    block, ((weight, bias),) = chain.blocks[candidate.start], weights
    y = F.linear(values[str(block.hidden)], weight.flatten(1), bias)
    return y.permute(0, 3, 1, 2) if y.dim() == 4 else values[block.input] + y


@dataclass(frozen=True, slots=True)
class NarrowedBranch(New):
    """A branch with fewer hidden channels. Which is not known before it is regressed.

    Attributes:
        layers: of the original.
    """

    layers: "BranchLayers"


def install(site: Site, candidate: Candidate) -> tuple[None, NarrowedBranch]:
    """Put narrower layers in the place of the branch's."""
    from torch import nn  # noqa: PLC0415 - torch takes seconds

    from depthopt.rewrite.branch_layers import BranchLayers  # noqa: PLC0415 - as above

    block = site.chain.blocks[candidate.start]
    width, together = _hidden(candidate.operators[0])
    layers = BranchLayers.of(site.network, block)
    narrower = {layers.last_path: nn.Linear(width, layers.last.out_features)}
    for path, first in layers.first.items():
        outputs = layers.parts(path) * width
        narrower[path] = nn.Linear(first.in_features, outputs, bias=first.bias is not None)
    for path, layer in narrower.items():
        site.network.set_submodule(path, layer.to(layers.last.weight).eval())
    for written in layers.heads:
        written.set(width // together)
    return None, NarrowedBranch(str(block.reader), block.linear, layers)


def set_weights(
    network: "fx.GraphModule",
    new: New,
    candidate: Candidate,
    weights: Weights,
    _: "Regression",
) -> None:
    """Give the layers what is kept of the first, and what was regressed of the last."""
    import torch  # noqa: PLC0415 - it takes seconds

    from depthopt.rewrite.narrowing import channels_of  # noqa: PLC0415 - as above

    assert isinstance(new, NarrowedBranch)  # noqa: S101 - narrows New: it is what was put in
    ((weight, bias),), layers = weights, new.layers
    stays = channels_of(weight, *_hidden(candidate.operators[0]))
    for path, whole in layers.first.items():
        rows, first = layers.rows(path, stays), network.get_submodule(path)
        with torch.no_grad():
            first.get_parameter("weight").copy_(whole.weight[rows])
            if whole.bias is not None:
                first.get_parameter("bias").copy_(whole.bias[rows])
    layers.set_last(network, weight[:, stays], bias)


def _mlp(operator: Operator) -> Mlp:
    assert isinstance(operator, Mlp)  # noqa: S101 - narrows Operator: no other branch there is
    return operator


def _hidden(operator: Operator) -> tuple[int, int]:
    """The hidden channels of a branch, and how many of them stay or go together.

    0 where none can go: a norm of them sees all.
    """
    match operator:
        case Attention():
            return operator.hidden, operator.head_width
        case Mlp() if not operator.normed:
            return operator.hidden, 1
    return 0, 1


def _before(candidate: Candidate) -> int:
    """The hidden channels of the original."""
    count = candidate.detail.removesuffix(" channels")
    return int(count) if count.isascii() and count.isdigit() else 1
