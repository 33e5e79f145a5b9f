"""``fit``: replace a segment by one convolution, or two in a row, regressed on data.

A run of a transformer's branches becomes one linear layer ``x + x R + b`` of each token, whose
ridge shrinks R, as ReplaceMe does without one (NeurIPS 2025, https://arxiv.org/abs/2505.02819). R
may be of low rank.
"""

from collections.abc import Iterator
from dataclasses import replace

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Convolution, Linear, LowRank, Operator, reads_tokens
from depthopt.core.window import Window, region_window, segment_window
from depthopt.kinds.kind import Kind, Wishes
from depthopt.kinds.widths import fewer_channels
from depthopt.rewrite.options import Form
from depthopt.rewrite.problem import Problem, sums_bytes

_MOST_BYTES = 2**26
"""Maximum bytes of the sums of a dense convolution. Two in a row, which are regressed from it, are
not listed if it needs more."""


def _candidates(chain: Chain, wishes: Wishes) -> Iterator[Candidate]:
    """Square kernels of several sizes, in every form that is wished."""
    for start, end in wishes.segments:
        yield from _of_segment(chain, start, end, wishes)


def _of_segment(chain: Chain, start: int, end: int, wishes: Wishes) -> Iterator[Candidate]:
    first, ending = chain.blocks[start], chain.ending(start, end)
    if any(reads_tokens(block.operator) for block in chain.blocks[start:end]):
        if _why_no_linear(chain, start, end) is None:
            for operator in _linear(ending.channels, wishes):
                yield Candidate(start, end, KIND.name, (operator,))
        return
    linear = chain.why_unmergeable(start, end) is None
    window = segment_window(chain, start, end) if linear else region_window(chain, start, end)
    if window is None:
        return
    channels, input_size = first.layout.in_channels, first.layout.input_size
    for size in wishes.kernel_sizes:
        if not _is_useful(size, window, input_size):
            continue
        centred = window.centred((min(size, window.size[0]), min(size, window.size[1])))
        dense = replace(centred, groups=1).convolution(
            channels, ending.channels, input_size, ending.size
        )
        if min(dense.padding) >= 0:
            for operators in _forms(dense, wishes):
                yield Candidate(start, end, KIND.name, operators, ending.activation)


def _forms(dense: Convolution, wishes: Wishes) -> Iterator[tuple[Convolution, ...]]:
    """A dense convolution, and what may stand for it."""
    channels, out, form = dense.in_channels, dense.out_channels, wishes.fits
    depthwise = replace(dense, out_channels=channels, groups=channels)
    if "dense" in form:
        yield (dense,)
    if "depthwise" in form and channels == out and channels > 1:
        yield (depthwise,)
    if sums_bytes(dense, out) > _MOST_BYTES:
        return
    if "separable" in form and dense.kernel_size != (1, 1) and channels > 1:
        yield depthwise, Convolution(channels, out, (1, 1))
    if "low_rank" in form:
        for rank in fewer_channels(min(channels, out), wishes.ranks, wishes.width_step):
            yield Convolution(channels, rank, (1, 1)), replace(dense, in_channels=rank)


def _linear(channels: int, wishes: Wishes) -> Iterator[Operator]:
    """A linear layer of tokens, and those of low rank that need fewer multiply-accumulates."""
    if "dense" in wishes.fits:
        yield Linear(channels, channels)
    if "low_rank" in wishes.fits and sums_bytes(_as_map(channels), channels) <= _MOST_BYTES:
        for rank in fewer_channels(channels, wishes.ranks, wishes.width_step):
            if 2 * rank < channels:
                yield LowRank(channels, rank)


def _as_map(channels: int, out_channels: int | None = None) -> Convolution:
    """The convolution that is a linear layer where tokens are pixels."""
    return Convolution(channels, out_channels or channels, (1, 1))


def _why_no_linear(chain: Chain, start: int, end: int) -> str | None:
    """Why no linear layer of tokens, near to the identity, can take a segment's place."""
    if (illegal := chain.why_illegal(start, end)) is not None:
        return illegal
    blocks, first, ending = chain.blocks[start:end], chain.blocks[start], chain.ending(start, end)
    if not all(reads_tokens(block.operator) for block in blocks) or chain.open_skips(start, end):
        return "is a linear layer of tokens in the place of something else"
    if (first.layout.in_channels, first.layout.input_size) != (ending.channels, ending.size):
        return "has other tokens at its end than at its start"
    return None


def _why_not(chain: Chain, candidate: Candidate) -> str | None:
    if (linear := candidate.linear) is not None:
        channels = chain.ending(candidate.start, candidate.end).channels
        if {linear.in_channels, linear.out_channels} != {channels}:
            return f"is not a linear layer of {channels} channels"
        return _why_no_linear(chain, candidate.start, candidate.end)
    blocks = chain.blocks[candidate.start : candidate.end]
    if any(reads_tokens(block.operator) for block in blocks):
        return "is a convolution in the place of tokens"
    convolutions = [each for each in candidate.operators if isinstance(each, Convolution)]
    if len(convolutions) != len(candidate.operators) or len(convolutions) not in {1, 2}:
        return "is neither one convolution nor two in a row"
    if len(convolutions) == 2:
        first, second = convolutions
        depthwise = first.is_depthwise and second.kernel_size == (1, 1)
        if not depthwise and (first.kernel_size, first.groups) != ((1, 1), 1):
            return "is neither a depthwise convolution and a 1x1 one nor begins with a 1x1 one"
    return chain.why_illegal(candidate.start, candidate.end)


def _problem(candidate: Candidate, _: Form) -> Problem:
    if (linear := candidate.linear) is not None:
        channels, factors = linear.out_channels, None
        if isinstance(linear, LowRank):
            factors = _as_map(channels, linear.rank), _as_map(linear.rank, channels)
        return Problem(_as_map(channels), to_identity=True, factors=factors)
    convolutions = [each for each in candidate.operators if isinstance(each, Convolution)]
    if len(convolutions) == 1:
        return Problem(convolutions[0])
    first, second = convolutions
    window = first if first.groups > 1 else second
    dense = replace(
        window, in_channels=first.in_channels, out_channels=second.out_channels, groups=1
    )
    return Problem(dense, factors=(first, second))


def _is_useful(size: int, window: Window, input_size: tuple[int, int]) -> bool:
    """Whether a kernel of this size sees more than the next smaller odd one."""
    if size == 1:
        return True
    smaller = size - 2
    beyond_window = smaller >= max(window.size)
    beyond_input = smaller >= 2 * max(input_size) - 1
    return not (beyond_window or beyond_input)


KIND = Kind(
    name="fit",
    verb="fitted",
    letter="F",
    colour=("#1a7f5a", "#4fc393"),
    pattern="dots",
    candidates=_candidates,
    why_not=_why_not,
    problem=_problem,
)
