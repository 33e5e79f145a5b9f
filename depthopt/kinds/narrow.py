"""``narrow``: give a branch fewer hidden channels.

Two dense convolutions, with grouped or depthwise ones between them or none, as in a basic block, a
bottleneck's halves or an inverted residual, with a squeeze-excite before the last or without; or
three dense ones, a whole bottleneck, whose two hidden tensors have as many channels. The tensors at
its ends stay as they are. Of the hidden ones those channels stay that serve the tensor at the end
best (``depthopt.rewrite.narrowing``): the last convolution is regressed for them, the others lose
the weights of those that go, and what stays of the hidden tensors is what it was, exactly. A gate,
or the middle one of three, is regressed too (``depthopt.rewrite.inner``).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from depthopt.core.candidate import KEPT, Candidate
from depthopt.core.chain import Block, Chain, Gate
from depthopt.core.operators import Convolution
from depthopt.errors import UsageError
from depthopt.kinds import narrow_branch as branch
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

P = ParamSpec("P")
R = TypeVar("R")

_GATED, _TWICE = " gated", " twice"
"""At the end of a candidate's detail, if a gate weighs the channels, or two tensors lose some."""

_MOST_BYTES = 2**29
"""Maximum bytes of a regression's sums. Larger branches keep their width."""


def why_no_branch(chain: Chain, start: int, end: int) -> str | None:
    """Why ``[start, end)`` cannot be narrowed. None if it can.

    The reasons are of its form, and of what else reads or adds to its hidden tensors.
    """
    if (illegal := chain.why_illegal(start, end)) is not None:
        return illegal
    if end - start < 2:
        return "has no hidden tensor: it is one block"
    for block in chain.blocks[start:end]:
        if not isinstance(block.operator, Convolution):
            return f"{block.name} is not a convolution"
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
    squeeze, expand = (block.convolution for block in chain.blocks[gate.start : gate.end])
    plain = {(each.kernel_size, each.groups) for each in (squeeze, expand)} == {((1, 1), 1)}
    weighs = chain.blocks[gate.start - 1].output == gate.source
    return gate if plain and weighs else None


def _middle(chain: Chain, start: int, end: int) -> Block | None:
    """The second of three dense convolutions, if both hidden tensors have as many channels."""
    if end - start != 3:
        return None
    middle = chain.blocks[start + 1]
    own = middle.convolution
    return middle if own.groups == 1 and own.in_channels == own.out_channels > 1 else None


def _branch(chain: Chain, start: int, end: int) -> tuple[Block, ...]:
    """The blocks of a branch without those of its gate."""
    gate = _gate(chain, start, end)
    inside = range(0) if gate is None else range(gate.start, gate.end)
    return tuple(chain.blocks[i] for i in range(start, end) if i not in inside)


def _why_no_form(chain: Chain, start: int, end: int) -> str | None:
    """What its convolutions have that a branch has not."""
    first, *between, last = (block.convolution for block in _branch(chain, start, end))
    for operator in (first, last):
        if operator.groups != 1:
            return f"does not begin and end with dense convolutions: {operator}"
    groups = {operator.groups for operator in between}
    if 1 in groups and not _middle(chain, start, end):
        return "has a dense convolution inside; its halves can be narrowed"
    if len(groups) > 1:
        return f"has convolutions of {' and '.join(map(str, sorted(groups)))} groups inside"
    return None


def _units(chain: Chain, start: int, end: int) -> int:
    """What stays or goes as a whole: the groups of what is between, or single channels."""
    _, *between, last = _branch(chain, start, end)
    whole = not between or _middle(chain, start, end) is not None
    return last.layout.in_channels if whole else between[0].convolution.groups


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
    """A branch whose last convolution reads this many channels.

    Args:
        chain: the network.
        start: first block.
        end: one past the last; ``why_no_branch`` gives no reason.
        width: fewer channels than it reads, a multiple of those that go together.
    """
    blocks, units = chain.blocks[start:end], _units(chain, start, end)
    left = width * units // blocks[-1].layout.in_channels

    operators = tuple(
        _fewer(block.convolution, units, left, reads=reads, gives=gives)
        for block, (reads, gives) in zip(blocks, _hidden(chain, start, end), strict=True)
    )
    channels = blocks[-1].layout.in_channels
    together = channels // units
    detail = f"{channels} channels" + (f" by {together}" if together > 1 else "")
    detail += _GATED if _gate(chain, start, end) is not None else ""
    detail += _TWICE if _middle(chain, start, end) is not None else ""
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
    detail = candidate.detail.removesuffix(_GATED).removesuffix(_TWICE)
    channels, _, more = detail.partition(" channels")
    return replace(last, in_channels=int(channels)), int(more.removeprefix(" by ") or 1)


def _width(_: Chain, candidate: Candidate) -> float:
    return candidate.operators[-1].in_channels / _last(candidate)[0].in_channels


def _problem(candidate: Candidate, _: Form) -> Problem:
    last, together = _last(candidate)
    width = candidate.operators[-1].in_channels
    inner = None
    if candidate.detail.endswith(_GATED):
        inner = replace(_convolutions(candidate)[-3], in_channels=last.in_channels)
    elif candidate.detail.endswith(_TWICE):
        channels = last.in_channels
        middle = _convolutions(candidate)[1]
        inner = replace(middle, in_channels=channels, out_channels=channels)
    return Problem(last, start=candidate.end - 1, channels=width, together=together, inner=inner)


def _inner(chain: Chain, candidate: Candidate) -> tuple[Block, ...]:
    """The blocks whose weights are regressed, or needed, beside the last one's."""
    gate = _gate(chain, candidate.start, candidate.end)
    middle = _middle(chain, candidate.start, candidate.end)
    if gate is not None:
        return chain.blocks[gate.start : gate.end]
    return () if middle is None else (middle,)


def _start(network: "fx.GraphModule", chain: Chain, candidate: Candidate) -> Weights:
    from depthopt.rewrite.affine import folded  # noqa: PLC0415 - torch takes seconds
    from depthopt.rewrite.narrower import layers_of  # noqa: PLC0415 - as above

    blocks = (chain.blocks[candidate.end - 1], *_inner(chain, candidate))
    found = (folded(*layers_of(network, block).values()) for block in blocks)
    return tuple((weight.detach(), bias.detach()) for weight, bias in found)


def _reads(chain: Chain, candidate: Candidate) -> set[str]:
    return {_read(chain, candidate), *_added(chain, candidate)}


def _read(chain: Chain, candidate: Candidate) -> str:
    """The last tensor whose channels that stay are what they were."""
    gate = _gate(chain, candidate.start, candidate.end)
    middle = _middle(chain, candidate.start, candidate.end)
    if gate is not None:
        return gate.source
    return chain.blocks[candidate.end - 1].input if middle is None else middle.input


def _added(chain: Chain, candidate: Candidate) -> list[str]:
    """What skips over the whole branch add to it."""
    covered = chain.covered(candidate.start, candidate.end)
    return [skip.operand for skip in covered]


def _output(
    chain: Chain, candidate: Candidate, weights: Weights, values: "Mapping[str, Tensor]"
) -> "Tensor":
    from depthopt.rewrite.inner import convolved, weighed  # noqa: PLC0415 - torch takes seconds
    from depthopt.rewrite.regression import convolve  # noqa: PLC0415 - as above

    ((weight, bias), *own), (last, _) = weights, _last(candidate)
    read, blocks = values[_read(chain, candidate)], _inner(chain, candidate)
    is_gated = _gate(chain, candidate.start, candidate.end) is not None
    read = (weighed if is_gated else convolved)(read, tuple(own), blocks)
    output = convolve(read, weight, bias, last)
    for name in _added(chain, candidate):
        output = output + values[name]
    return output


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution or norm that has fewer channels.

    Attributes:
        whole: as the original has it.
        narrow: in its place.
        reads: whether its inputs are hidden channels; those of a middle one are the first tensor's.
        gives: whether its outputs are.
        first: whether the first of two hidden tensors is what it gives.
    """

    whole: "nn.Module"
    narrow: "nn.Module"
    reads: bool
    gives: bool
    first: bool


@dataclass(frozen=True, slots=True)
class _Narrowed(New):
    """A branch with fewer channels, of which the first ones stay until it is known which should.

    Attributes:
        layers: every convolution and norm that has fewer.
        inner: paths of the convolution that is regressed beside the last one, and of its norm.
    """

    layers: tuple[_Layer, ...] = ()
    inner: tuple[str, ...] = ()

    def keep(self, stays: "Tensor", first: "Tensor", channels: int) -> None:
        """Give every layer what the original has for channels that stay.

        Args:
            stays: of the last hidden tensor, and of all others but the first of two.
            first: of that.
            channels: how many the last hidden tensor had.
        """
        from depthopt.rewrite.narrower import keep_channels  # noqa: PLC0415 - torch takes seconds

        for layer in self.layers:
            outputs = first if layer.first else stays
            inputs = first if layer.reads and layer.gives else stays
            keep_channels(
                layer.whole,
                layer.narrow,
                outputs if layer.gives else None,
                inputs if layer.reads else None,
                channels,
            )


def _install(site: Site, candidate: Candidate) -> "tuple[None, New]":
    import torch  # noqa: PLC0415 - it takes seconds
    from torch import nn  # noqa: PLC0415 - as above

    from depthopt.rewrite.narrower import layers_of, narrower  # noqa: PLC0415 - as above

    chain, start, end = site.chain, candidate.start, candidate.end
    blocks, inner = chain.blocks[start:end], _inner(chain, candidate)[:1]
    twice = _middle(chain, start, end) is not None
    found, paths = list[_Layer](), dict[str, list[str]]()
    hidden = _hidden(chain, start, end)
    for block, operator, (reads, gives) in zip(
        blocks, _convolutions(candidate), hidden, strict=True
    ):
        layers = layers_of(site.network, block)
        paths[block.name] = list(layers)
        is_regressed = block in inner or block is blocks[-1]
        for path, whole in layers.items():
            narrow = narrower(whole, operator, biased=is_regressed and len(layers) == 1)
            if narrow is not whole:
                site.network.set_submodule(path, narrow)
                own = reads and not isinstance(whole, nn.BatchNorm2d)
                first = twice and block is blocks[0]
                found.append(_Layer(whole, narrow, own, gives, first))
    (last, _), width = _last(candidate), candidate.operators[-1].in_channels
    own_paths = tuple(paths[inner[0].name]) if inner else ()
    new = _Narrowed(blocks[0].name, paths[blocks[-1].name][-1], tuple(found), own_paths)
    new.keep(torch.arange(width), torch.arange(width), last.in_channels)
    return None, new


def _set_weights(
    network: "fx.GraphModule",
    new: New,
    candidate: Candidate,
    weights: Weights,
    regression: "Regression",
) -> None:
    from torch import nn  # noqa: PLC0415 - torch takes seconds

    from depthopt.rewrite.narrowing import channels_of  # noqa: PLC0415 - as above
    from depthopt.rewrite.set_weights import (  # noqa: PLC0415 - as above
        own_lengths,
        set_weights,
        set_with_norm_as_is,
    )

    assert isinstance(new, _Narrowed)  # noqa: S101 - narrows New: it is what was put in
    ((weight, bias), *inner), (last, together) = weights, _last(candidate)
    width = candidate.operators[-1].in_channels
    stays = first = channels_of(weight, width, together)
    if candidate.detail.endswith(_TWICE):
        first = channels_of(inner[0][0], width)
    new.keep(stays, first, last.in_channels)
    conv, norm = new.layers[-1].narrow, network.get_submodule(new.last)
    assert isinstance(conv, nn.Conv2d)  # noqa: S101 - narrows nn.Module: blocks end in no other
    own = norm if isinstance(norm, nn.BatchNorm2d) else None
    (target,) = regression.targets
    some = regression.of_channels(last, stays, target)
    set_weights(conv, own, weight[:, stays], bias, some, own_lengths(conv))
    if new.inner:
        weight, bias = inner[0]
        outputs = stays if candidate.detail.endswith(_TWICE) else slice(None)
        conv, norm = (network.get_submodule(path) for path in (new.inner[0], new.inner[-1]))
        assert isinstance(conv, nn.Conv2d)  # noqa: S101 - narrows nn.Module: as above
        own = norm if isinstance(norm, nn.BatchNorm2d) else None
        set_with_norm_as_is(conv, own, weight[outputs][:, first], bias[outputs])


def _realised(_: Candidate, fitted: "Fitted") -> Weights:
    return ((fitted.weight, fitted.bias), *fitted.inner)


def _every(chain: Chain, wishes: Wishes) -> Iterator[Candidate]:
    """A few widths of every branch, of convolutions or of a transformer."""
    yield from branch.candidates(chain, wishes, KIND.name, _MOST_BYTES)
    yield from _candidates(chain, wishes)


def _by_form(of_convolutions: Callable[P, R], of_transformer: Callable[P, R]) -> Callable[P, R]:
    """One of two functions, by what the candidate among their arguments narrows."""

    def chosen(*args: P.args, **kwargs: P.kwargs) -> R:
        (candidate,) = (each for each in args if isinstance(each, Candidate))
        of = of_transformer if branch.is_branch(candidate) else of_convolutions
        return of(*args, **kwargs)

    return chosen


KIND = Kind(
    name="narrow",
    verb="narrowed",
    letter="N",
    colour=("#7a5aa8", "#b79be0"),
    pattern="bars",
    candidates=_every,
    takes_inserted=False,
    why_not=_by_form(_why_not, branch.why_not),
    latency_keys=_by_form(_latency_keys, kept_keys),
    width=_by_form(_width, branch.width),
    reader=lambda chain, candidate: chain.blocks[candidate.start].name,
    problem=_by_form(_problem, branch.problem),
    start=_by_form(_start, branch.start),
    realised=_realised,
    reads=_by_form(_reads, branch.reads),
    output=_by_form(_output, branch.output),
    install=_by_form(_install, branch.install),
    set_weights=_by_form(_set_weights, branch.set_weights),
)
