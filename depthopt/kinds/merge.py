"""``merge``: a segment's convolutions composed into one, the activations between them gone.

Of LayerMerge (ICML 2024, https://arxiv.org/abs/2406.12837) some of the convolutions may be left
out; of the 2023 paper (https://arxiv.org/abs/2301.12187) all are composed. What is trained as one
convolution is regressed on data from there.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.window import segment_window
from depthopt.errors import UsageError
from depthopt.kinds.kind import Kind, Wishes
from depthopt.kinds.site import New, Site, Weights, module_name
from depthopt.rewrite.options import Form
from depthopt.rewrite.problem import Problem

if TYPE_CHECKING:  # torch takes seconds to import, and tables are solved without it
    from torch import fx

    from depthopt.rewrite.expanded import ExpandedSegment

_NOTHING = "none"

_MOST_BYTES = 2**29
"""Of a regression's sums: larger merged kernels stay as they are composed."""


def merged(
    chain: Chain, start: int, end: int, composed: Sequence[int] | None = None
) -> Candidate | None:
    """The candidate that composes some of a segment's convolutions; None if there is none.

    Args:
        chain: the network.
        start: first block.
        end: one past the last.
        composed: the blocks whose convolutions are composed, the others being identities; all
            if None.
    """
    blocks = range(start, end) if composed is None else composed
    first, ending = chain.blocks[start].layout, chain.ending(start, end)
    new = segment_window(chain, start, end, composed=blocks).convolution(
        first.in_channels, ending.channels, first.input_size, ending.size
    )
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
    if candidate.detail == _NOTHING:
        return ()
    try:
        return tuple(map(int, candidate.detail.split(",")))
    except ValueError:
        raise UsageError(f"{candidate} does not say which blocks it composes") from None


def _candidates(chain: Chain, wishes: Wishes) -> Iterator[Candidate]:
    """All convolutions of a segment; of a single block, where parallel branches merge into it."""
    for start, end in wishes.segments:
        several = end - start > 1 or bool(chain.covered(start, end))
        if several and chain.why_unmergeable(start, end) is None:
            found = merged(chain, start, end)
            yield from () if found is None else (found,)


def _is_whole(candidate: Candidate) -> bool:
    return composed_blocks(candidate) == tuple(range(candidate.start, candidate.end))


def _problem(candidate: Candidate, form: Form) -> Problem | None:
    problem = Problem(candidate.convolution, keeps_start=True)
    return problem if form == "fused" and problem.memory_bytes <= _MOST_BYTES else None


def _expanded(network: "fx.GraphModule", chain: Chain, candidate: Candidate) -> "ExpandedSegment":
    from depthopt.rewrite.expanded import ExpandedSegment  # noqa: PLC0415 - torch takes seconds

    segment, composed = (candidate.start, candidate.end), composed_blocks(candidate)
    return ExpandedSegment(network, chain, segment, composed, candidate.convolution)


def _start(network: "fx.GraphModule", chain: Chain, candidate: Candidate) -> Weights:
    operator = _expanded(network, chain, candidate).operator()
    return ((operator.weight.float(), operator.bias.float()),)


def _install(site: Site, candidate: Candidate) -> "tuple[fx.Node, New | None]":
    expanded, name = _expanded(site.network, site.chain, candidate).eval(), module_name(candidate)
    module = expanded if site.form == "expanded" else expanded.fused()
    return site.call(name, module, site.at(candidate.start)), New(name, name)


KIND = Kind(
    name="merge",
    verb="merged",
    letter="M",
    colour=("#4c78c8", "#7aa5f0"),
    pattern="stripes",
    candidates=_candidates,
    why_not=lambda chain, c: chain.why_unmergeable(c.start, c.end),
    retained=composed_blocks,
    is_composition=_is_whole,
    problem=_problem,
    start=_start,
    install=_install,
)
