"""Consecutive fits without an activation between them, which one convolution can compute.

Which fits are one is said by what each of them is and by the tensor between them, so that of a
run either all are joined or none, wherever one begins to look:

- the fit before has no activation, and its output is what the next one reads, and nothing else;
- the fit behind is 1x1 and not padded, as a bias before padding is not one behind it; it gives no
  more numbers than it reads, so that the one convolution needs no more multiply-accumulates than
  both; and nothing is added to what it gives;
- behind a depthwise convolution only depthwise ones are joined, for the same reason.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from math import prod

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Convolution
from depthopt.core.window import Window
from depthopt.kinds import fit

TAILS = LOOSE, DENSE, DEPTHWISE = range(3)
"""Ends of a candidate. Behind it may be joined: nothing, any fit, or depthwise fits."""


def tail(chain: Chain, candidate: Candidate) -> int:
    """How a candidate ends: ``LOOSE``, ``DENSE`` or ``DEPTHWISE``."""
    start, end, operator = candidate.start, candidate.end, _only(candidate)
    if (
        operator is None
        or candidate.activation is not None
        or end == len(chain.blocks)
        or chain.open_skips(start, end)
        or chain.later_skips(start, end)
        or chain.blocks[end].input != chain.ending(start, end).output
    ):
        return LOOSE
    if operator.groups == 1:
        return DENSE
    return DEPTHWISE if operator.is_depthwise else LOOSE


def follows(chain: Chain, candidate: Candidate) -> tuple[int, ...]:
    """The ends of a preceding candidate that this one can be joined to."""
    start, end, operator = candidate.start, candidate.end, _only(candidate)
    if (
        operator is None
        or operator.kernel_size != (1, 1)
        or any(operator.padding)
        or start == 0
        or chain.open_skips(start, end)
        or chain.later_skips(start, end)
        or any(barrier.position == start for barrier in chain.barriers)
        or any(skip.source == start and skip.target > end for skip in chain.skips)
    ):
        return ()
    layout = chain.blocks[start].layout
    size = operator.output_size(layout.input_size)
    if operator.out_channels * prod(size) > operator.in_channels * prod(layout.input_size):
        return ()
    return (DENSE, DEPTHWISE) if operator.is_depthwise else (DENSE,)


def joined(chain: Chain, first: Candidate, second: Candidate) -> Candidate:
    """The fit that computes the same as two consecutive ones.

    Either may stand for several itself. Its importance is theirs together.
    """
    layout = chain.blocks[first.start].layout
    before, behind = first.convolution, second.convolution
    window = Window.of(before).then(Window.of(behind))
    size = behind.output_size(before.output_size(layout.input_size))
    one = window.convolution(before.in_channels, behind.out_channels, layout.input_size, size)
    return replace(second, start=first.start, entry=first.entry, operators=(one,))


def joins(
    chain: Chain, candidates: Iterable[Candidate]
) -> Iterator[tuple[Candidate, Candidate, Candidate]]:
    """The fits that can be joined: (a fit or several joined, the fit behind it, both joined).

    Those that begin with a fit, or with several, come behind those that end with it.
    """
    behind: dict[tuple[int, int, int], list[Candidate]] = {}
    waiting: dict[int, dict[Candidate, int]] = {}
    for candidate in candidates:
        for before in follows(chain, candidate):
            behind.setdefault((candidate.start, candidate.entry, before), []).append(candidate)
        if end := tail(chain, candidate):
            waiting.setdefault(candidate.end, {})[candidate] = end
    for position in range(len(chain.blocks)):
        for first, before in waiting.pop(position, {}).items():
            for second in behind.get((position, first.exit, before), ()):
                both = joined(chain, first, second)
                yield first, second, both
                if tail(chain, both):
                    waiting.setdefault(both.end, {})[both] = before


def as_fused(chain: Chain, choices: Sequence[Candidate]) -> tuple[tuple[Candidate, ...], ...]:
    """A plan's choices, grouped where several become one convolution when fused."""
    groups, end = list[tuple[Candidate, ...]](), LOOSE
    for choice in choices:
        if end in follows(chain, choice):
            groups[-1] = (*groups[-1], choice)
            end = end if tail(chain, choice) else LOOSE
        else:
            groups.append((choice,))
            end = tail(chain, choice)
    return tuple(groups)


def running(chain: Chain, choices: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """A plan's choices as they run after fusing: joined ones are one."""
    return tuple(reduce(partial(joined, chain), group) for group in as_fused(chain, choices))


def _only(candidate: Candidate) -> Convolution | None:
    """A fit's convolution, if it is one."""
    match candidate.operators:
        case (Convolution() as only,) if candidate.kind == fit.KIND.name:
            return only
    return None
