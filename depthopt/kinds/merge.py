"""``merge``: compose a segment's convolutions into one, without the activations between.

Of LayerMerge (ICML 2024, https://arxiv.org/abs/2406.12837) some of the convolutions may become
identities (``depthopt.kinds.subsets``); of the 2023 paper (https://arxiv.org/abs/2301.12187) all
are composed. What is trained as one convolution is regressed on data from there.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.window import Window, segment_window
from depthopt.errors import UsageError
from depthopt.kinds.ends import is_part, why_other_ends, with_ends, without_part
from depthopt.kinds.kind import Kind, Wishes
from depthopt.kinds.site import New, Site, Weights, module_name
from depthopt.kinds.subsets import best_subsets
from depthopt.rewrite.options import Form
from depthopt.rewrite.problem import Problem

if TYPE_CHECKING:  # torch takes seconds to import, and tables are solved without it
    from torch import fx

    from depthopt.rewrite.expanded import ExpandedSegment

_NOTHING = "none"

_MOST_BYTES = 2**29
"""Maximum bytes of a regression's sums. Larger merged kernels are not regressed."""


def merged(
    chain: Chain, start: int, end: int, composed: Sequence[int] | None = None
) -> Candidate | None:
    """The candidate that composes some of a segment's convolutions. None if there is none.

    Args:
        chain: the network.
        start: first block.
        end: one past the last.
        composed: the blocks whose convolutions are composed, the others being identities; all
            if None.
    """
    blocks = range(start, end) if composed is None else composed
    window = segment_window(chain, start, end, composed=blocks)
    return _of_window(chain, start, end, window, blocks)


def _of_window(
    chain: Chain, start: int, end: int, window: Window, blocks: Sequence[int]
) -> Candidate | None:
    """The merge that has a window; a segment without convolutions and skips is nothing at all."""
    first, ending = chain.blocks[start].layout, chain.ending(start, end)
    if not blocks and not chain.covered(start, end):
        return Candidate(start, end, KIND.name, (), ending.activation, _NOTHING)
    new = window.convolution(first.in_channels, ending.channels, first.input_size, ending.size)
    if min(new.padding) < 0:
        return None
    return Candidate(start, end, KIND.name, (new,), ending.activation, detail_of(blocks))


def detail_of(composed: Sequence[int]) -> str:
    """The ``Candidate.detail`` of a merge that composes the convolutions of these blocks."""
    return ",".join(map(str, composed)) or _NOTHING


def composed_blocks(candidate: Candidate) -> tuple[int, ...]:
    """The blocks whose convolutions a merge composes.

    Raises:
        UsageError: its detail is not a list of blocks.
    """
    if (detail := without_part(candidate.detail)) == _NOTHING:
        return ()
    try:
        return tuple(map(int, detail.split(",")))
    except ValueError:
        raise UsageError(f"{candidate} does not say which blocks it composes") from None


def _candidates(chain: Chain, wishes: Wishes) -> Iterator[Candidate]:
    """What segments merge into, with and without activations at their ends if so wished.

    A single block is listed where that changes it: where parallel branches merge into it, where it
    becomes nothing, where the activation behind it changes, or as a part.
    """
    for candidate in _every(chain, wishes):
        several = candidate.end - candidate.start > 1
        changes = several or not _is_whole(candidate)
        changes = changes or bool(chain.covered(candidate.start, candidate.end))
        if wishes.ends is None:
            yield from (candidate,) if changes else ()
            continue
        for each in with_ends(chain, candidate, wishes.ends, parts=_is_whole(candidate)):
            if changes or each.exit or (each.entry and is_part(each)):
                yield each


def _every(chain: Chain, wishes: Wishes) -> Iterator[Candidate]:
    """Every segment's convolutions composed, or also its subsets; of single blocks too."""
    segments = [s for s in wishes.segments if chain.why_unmergeable(*s) is None]
    if wishes.weights is None:
        composed = (merged(chain, start, end) for start, end in segments)
        yield from (candidate for candidate in composed if candidate is not None)
        return
    for start, those in groupby(segments, lambda segment: segment[0]):
        ends = [end for _, end in those]
        for end, window, blocks in best_subsets(chain, start, ends, wishes.weights):
            found = _of_window(chain, start, end, window, blocks)
            if found is not None and (blocks or wishes.identities):
                yield found


def _is_whole(candidate: Candidate) -> bool:
    return composed_blocks(candidate) == tuple(range(candidate.start, candidate.end))


def _why_not(chain: Chain, candidate: Candidate) -> str | None:
    unmergeable = chain.why_unmergeable(candidate.start, candidate.end)
    return unmergeable or why_other_ends(chain, candidate)


def _problem(candidate: Candidate, form: Form) -> Problem | None:
    if not composed_blocks(candidate):
        return None
    problem = Problem(candidate.convolution, keeps_start=True)
    return problem if form == "fused" and problem.memory_bytes <= _MOST_BYTES else None


def _expanded(network: "fx.GraphModule", chain: Chain, candidate: Candidate) -> "ExpandedSegment":
    from depthopt.rewrite.expanded import ExpandedSegment  # noqa: PLC0415 - torch takes seconds

    segment, composed = (candidate.start, candidate.end), composed_blocks(candidate)
    return ExpandedSegment(network, chain, segment, composed, candidate.convolution)


def _start(network: "fx.GraphModule", chain: Chain, candidate: Candidate) -> Weights:
    if not candidate.operators:
        return ()
    operator = _expanded(network, chain, candidate).operator()
    return ((operator.weight.float(), operator.bias.float()),)


def _install(site: Site, candidate: Candidate) -> "tuple[fx.Node, New | None]":
    if not candidate.operators:
        return site.at(candidate.start), None
    expanded, name = _expanded(site.network, site.chain, candidate).eval(), module_name(candidate)
    module = expanded if site.form == "expanded" else expanded.fused()
    return site.call(name, module, site.at(candidate.start)), New(name, name)


def _reader(_: Chain, candidate: Candidate) -> str | None:
    return module_name(candidate) if candidate.operators else None


KIND = Kind(
    name="merge",
    verb="merged",
    letter="M",
    colour=("#4c78c8", "#7aa5f0"),
    pattern="stripes",
    candidates=_candidates,
    takes_ends=True,
    why_not=_why_not,
    is_part=is_part,
    retained=composed_blocks,
    reader=_reader,
    is_composition=_is_whole,
    problem=_problem,
    start=_start,
    install=_install,
)
