"""``narrow``: a branch keeps its form, with fewer hidden channels.

Two dense convolutions, with grouped or depthwise ones between them or none, as in a basic block, a
bottleneck's halves or an inverted residual. The tensors at its ends stay as they are. Of the hidden
ones those channels stay that serve the tensor at the end best (``depthopt.rewrite.narrowing``): the
last convolution is regressed for them, the others lose the weights of those that go, and what stays
of the hidden tensors is what it was, exactly.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from depthopt.core.candidate import KEPT, Candidate
from depthopt.core.chain import Block, Chain, Gate
from depthopt.core.operators import Convolution
from depthopt.errors import UsageError
from depthopt.kinds.kind import Kind, Wishes
from depthopt.kinds.running import kept_keys
from depthopt.kinds.site import New, Site, Weights
from depthopt.kinds.widths import fewer_channels
from depthopt.rewrite.options import Form
from depthopt.rewrite.problem import Problem
from depthopt.tables.latency import LatencyKey

if TYPE_CHECKING:  # torch takes seconds to import, and tables are solved without it
    from torch import Tensor, fx, nn

    from depthopt.rewrite.regression import Fitted, Regression

_GATED = " gated"
"""At the end of a candidate's detail, if a gate weighs the channels."""

_MOST_BYTES = 2**29
"""Of a regression's sums: branches whose last convolution is larger stay as wide as they are."""


def why_no_branch(chain: Chain, start: int, end: int) -> str | None:
    """Why ``[start, end)`` cannot be narrowed; None if it can.

    The reasons are of its form, and of what else reads or adds to its hidden tensors.
    """
    if (illegal := chain.why_illegal(start, end)) is not None:
        return illegal
    if end - start < 2:
        return "has no hidden tensor: it is one block"
    return _why_not_hidden(chain, start, end) or _why_no_form(chain, start, end)


def _why_not_hidden(chain: Chain, start: int, end: int) -> str | None:
    """What else reads the tensors inside, or adds to them."""
    gate = _gate(chain, start, end)
    for barrier in chain.barriers:
        of_gate = gate is not None and barrier.position in {gate.start, gate.end}
        if start < barrier.position < end and not of_gate:
            return f"has a hidden tensor that is read elsewhere: {barrier.reason}"
    for skip in chain.skips:
        if start < skip.source < end or start < skip.target < end:
            return f"has a hidden tensor that takes part in {skip.add}"
        if (skip.source, skip.target) == (start, end) and (skip.ending or skip.gated):
            return f"has more between its last convolution and {skip.add}"
    return None


def _gate(chain: Chain, start: int, end: int) -> Gate | None:
    """The squeeze-excite that weighs what the last block reads, of the form that is known."""
    gate = chain.gate_in(start, end)
    if gate is None or gate.end != end - 1 or gate.end - gate.start != 2:
        return None
    squeeze, expand = (block.operator for block in chain.blocks[gate.start : gate.end])
    plain = {(each.kernel_size, each.groups) for each in (squeeze, expand)} == {((1, 1), 1)}
    weighs = chain.blocks[gate.start - 1].output == gate.source
    return gate if plain and weighs else None


def _branch(chain: Chain, start: int, end: int) -> tuple[Block, ...]:
    """The blocks of a branch without those of its gate."""
    gate = _gate(chain, start, end)
    inside = range(0) if gate is None else range(gate.start, gate.end)
    return tuple(chain.blocks[i] for i in range(start, end) if i not in inside)


def _why_no_form(chain: Chain, start: int, end: int) -> str | None:
    """What its convolutions have that a branch has not."""
    first, *between, last = (block.operator for block in _branch(chain, start, end))
    for operator in (first, last):
        if operator.groups != 1:
            return f"does not begin and end with dense convolutions: {operator}"
    groups = {operator.groups for operator in between}
    if 1 in groups:
        return "has a dense convolution inside; its halves can be narrowed"
    if len(groups) > 1:
        return f"has convolutions of {' and '.join(map(str, sorted(groups)))} groups inside"
    return None


def _units(chain: Chain, start: int, end: int) -> int:
    """What stays or goes as a whole: the groups of what is between, or single channels."""
    _, *between, last = _branch(chain, start, end)
    return between[0].operator.groups if between else last.layout.in_channels


def _candidates(chain: Chain, wishes: Wishes) -> Iterator[Candidate]:
    """A few widths of every branch."""
    for start, end in wishes.segments:
        if why_no_branch(chain, start, end) is not None:
            continue
        channels = chain.blocks[end - 1].layout.in_channels
        together = channels // _units(chain, start, end)
        step = math.lcm(wishes.width_step, together)
        for width in fewer_channels(channels, wishes.widths, step):
            found = of_width(chain, start, end, width)
            if _problem(found, "fused").memory_bytes <= _MOST_BYTES:
                yield found


def of_width(chain: Chain, start: int, end: int, width: int) -> Candidate:
    """A branch whose last convolution reads so many channels.

    Args:
        chain: the network.
        start: first block.
        end: one past the last; ``why_no_branch`` gives no reason.
        width: fewer channels than it reads, a multiple of those that go together.
    """
    blocks, units = chain.blocks[start:end], _units(chain, start, end)
    left = width * units // blocks[-1].layout.in_channels

    operators = tuple(
        _fewer(block.operator, units, left, reads=reads, gives=gives)
        for block, (reads, gives) in zip(blocks, _hidden(chain, start, end), strict=True)
    )
    channels = blocks[-1].layout.in_channels
    together, gate = channels // units, _gate(chain, start, end)
    detail = f"{channels} channels" + (f" by {together}" if together > 1 else "")
    detail += _GATED if gate is not None else ""
    return Candidate(start, end, KIND.name, operators, blocks[-1].activation, detail)


def _hidden(chain: Chain, start: int, end: int) -> tuple[tuple[bool, bool], ...]:
    """Whether each block reads a hidden tensor or its means, and whether it gives or weighs one."""
    gate = _gate(chain, start, end)
    squeeze = None if gate is None else gate.start
    return tuple(
        (i > start and i - 1 != squeeze, i < end - 1 and i != squeeze) for i in range(start, end)
    )


def _fewer(
    operator: Convolution, units: int, left: int, *, reads: bool, gives: bool
) -> Convolution:
    """A block's convolution with fewer of the channels that are hidden."""
    inputs, outputs = operator.in_channels, operator.out_channels
    return replace(
        operator,
        in_channels=inputs // units * left if reads else inputs,
        out_channels=outputs // units * left if gives else outputs,
        groups=left if operator.groups > 1 else 1,
    )


def _why_not(chain: Chain, candidate: Candidate) -> str | None:
    start, end = candidate.start, candidate.end
    if (reason := why_no_branch(chain, start, end)) is not None:
        return reason
    width = candidate.operators[-1].in_channels if candidate.operators else 0
    channels = chain.blocks[end - 1].layout.in_channels
    together = channels // _units(chain, start, end)
    whole = 0 < width < channels and width % together == 0
    same = whole and candidate == of_width(chain, start, end, width)
    return None if same else "is not a narrower form of these blocks"


def _latency_keys(chain: Chain, candidate: Candidate) -> tuple[LatencyKey, ...]:
    """Every block as if it were kept, but narrower.

    Raises:
        UsageError: it has another number of convolutions than its segment has blocks.
    """
    if len(candidate.operators) != candidate.end - candidate.start:
        raise UsageError(f"{candidate} is not a narrower form of its blocks")
    blocks = range(candidate.start, candidate.end)
    return tuple(
        key
        for i, operator in zip(blocks, candidate.operators, strict=True)
        for key in kept_keys(
            chain, Candidate(i, i + 1, KEPT, (operator,), chain.blocks[i].activation)
        )
    )


def _convolutions(candidate: Candidate) -> tuple[Convolution, ...]:
    return tuple(each for each in candidate.operators if isinstance(each, Convolution))


def _last(candidate: Candidate) -> tuple[Convolution, int]:
    """The last convolution of the original's branch, and how many channels go together."""
    last = _convolutions(candidate)[-1]
    channels, _, more = candidate.detail.removesuffix(_GATED).partition(" channels")
    return replace(last, in_channels=int(channels)), int(more.removeprefix(" by ") or 1)


def _width(_: Chain, candidate: Candidate) -> float:
    return candidate.operators[-1].in_channels / _last(candidate)[0].in_channels


def _problem(candidate: Candidate, _: Form) -> Problem:
    last, together = _last(candidate)
    width = candidate.operators[-1].in_channels
    gated = candidate.detail.endswith(_GATED)
    return Problem(last, start=candidate.end - 1, channels=width, together=together, gated=gated)


def _start(network: "fx.GraphModule", chain: Chain, candidate: Candidate) -> Weights:
    from depthopt.rewrite.affine import folded  # noqa: PLC0415 - torch takes seconds
    from depthopt.rewrite.narrower import layers_of  # noqa: PLC0415 - as above

    gate = _gate(chain, candidate.start, candidate.end)
    blocks = [chain.blocks[candidate.end - 1]]
    blocks += [] if gate is None else chain.blocks[gate.start : gate.end]
    found = (folded(*layers_of(network, block).values()) for block in blocks)
    return tuple((weight.detach(), bias.detach()) for weight, bias in found)


def _reads(chain: Chain, candidate: Candidate) -> set[str]:
    gate = _gate(chain, candidate.start, candidate.end)
    read = chain.blocks[candidate.end - 1].input if gate is None else gate.source
    return {read, *_added(chain, candidate)}


def _added(chain: Chain, candidate: Candidate) -> list[str]:
    """What skips over the whole branch add to it."""
    covered = chain.covered(candidate.start, candidate.end)
    return [skip.operand for skip in covered]


def _output(
    chain: Chain, candidate: Candidate, weights: Weights, values: "Mapping[str, Tensor]"
) -> "Tensor":
    from depthopt.rewrite.gating import weighed  # noqa: PLC0415 - torch takes seconds
    from depthopt.rewrite.regression import convolve  # noqa: PLC0415 - as above

    ((weight, bias), *of_gate), (last, _) = weights, _last(candidate)
    gate = _gate(chain, candidate.start, candidate.end)
    if gate is None:
        read = values[chain.blocks[candidate.end - 1].input]
    else:
        read = weighed(values[gate.source], tuple(of_gate), chain.blocks[gate.start : gate.end])
    output = convolve(read, weight, bias, last)
    for name in _added(chain, candidate):
        output = output + values[name]
    return output


@dataclass(frozen=True, slots=True)
class _Narrowed(New):
    """A branch with fewer channels, of which the first ones stay until it is known which should.

    Attributes:
        layers: every convolution and norm in the original's width, and in this.
        squeeze: path of the first convolution of the gate on the channels, if there is one.
    """

    layers: "tuple[tuple[nn.Module, nn.Module], ...]" = ()
    squeeze: str | None = None


def _install(site: Site, candidate: Candidate) -> "tuple[None, New]":
    from depthopt.rewrite.narrower import (  # noqa: PLC0415 - torch takes seconds
        keep_channels,
        layers_of,
        narrower,
    )

    blocks = site.chain.blocks[candidate.start : candidate.end]
    gate = _gate(site.chain, candidate.start, candidate.end)
    squeeze = None if gate is None else site.chain.blocks[gate.start]
    pairs: list[tuple[nn.Module, nn.Module]] = []
    layers: dict[str, nn.Module] = {}
    for block, operator in zip(blocks, _convolutions(candidate), strict=True):
        layers = layers_of(site.network, block)
        is_regressed = block is squeeze or block is blocks[-1]
        for path, whole in layers.items():
            narrow = narrower(whole, operator, biased=is_regressed and len(layers) == 1)
            if narrow is not whole:
                site.network.set_submodule(path, narrow)
                pairs.append((whole, narrow))
    (last, _), width = _last(candidate), candidate.operators[-1].in_channels
    for whole, narrow in pairs:
        keep_channels(whole, narrow, range(width), last.in_channels)
    name = None if squeeze is None else squeeze.name
    return None, _Narrowed(blocks[0].name, list(layers)[-1], tuple(pairs), name)


def _set_weights(
    network: "fx.GraphModule",
    new: New,
    candidate: Candidate,
    weights: Weights,
    regression: "Regression",
) -> None:
    from torch import nn  # noqa: PLC0415 - torch takes seconds

    from depthopt.rewrite.narrower import keep_channels  # noqa: PLC0415 - as above
    from depthopt.rewrite.narrowing import channels_of  # noqa: PLC0415 - as above
    from depthopt.rewrite.set_weights import own_lengths, set_weights  # noqa: PLC0415 - as above

    assert isinstance(new, _Narrowed)  # noqa: S101 - narrows New: it is what was put in
    ((weight, bias), *of_gate), (last, together) = weights, _last(candidate)
    stays = channels_of(weight, candidate.operators[-1].in_channels, together)
    for whole, narrow in new.layers:
        keep_channels(whole, narrow, stays.tolist(), last.in_channels)
    conv, norm = new.layers[-1][1], network.get_submodule(new.last)
    assert isinstance(conv, nn.Conv2d)  # noqa: S101 - narrows nn.Module: blocks end in no other
    own = norm if isinstance(norm, nn.BatchNorm2d) else None
    some = regression.of_channels(last, stays, *regression.targets)
    set_weights(conv, own, weight[:, stays], bias, some, own_lengths(conv))
    if new.squeeze is not None:
        conv, (weight, bias) = network.get_submodule(new.squeeze), of_gate[0]
        assert isinstance(conv, nn.Conv2d)  # noqa: S101 - narrows nn.Module: as above
        set_weights(conv, None, weight[:, stays], bias, some, own_lengths(conv))


def _realised(_: Candidate, fitted: "Fitted") -> Weights:
    return ((fitted.weight, fitted.bias), *fitted.gate)


KIND = Kind(
    name="narrow",
    verb="narrowed",
    letter="N",
    colour=("#7a5aa8", "#b79be0"),
    pattern="bars",
    candidates=_candidates,
    takes_inserted=False,
    why_not=_why_not,
    latency_keys=_latency_keys,
    width=_width,
    reader=lambda chain, candidate: chain.blocks[candidate.start].name,
    problem=_problem,
    start=_start,
    realised=_realised,
    reads=_reads,
    output=_output,
    install=_install,
    set_weights=_set_weights,
)
