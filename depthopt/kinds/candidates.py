"""Everything that a chain's segments may become."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal, get_args

from depthopt.core.candidate import KEPT, Candidate
from depthopt.core.chain import Chain
from depthopt.core.numbers import Count, Size, require
from depthopt.core.operators import Activation
from depthopt.core.operators.activation import PLAIN
from depthopt.errors import UsageError
from depthopt.kinds.kind import Kind, Wishes
from depthopt.kinds.papers import published_segments
from depthopt.kinds.registry import KINDS
from depthopt.kinds.subsets import checked_weights

USUAL = "usual"
"""The word for a network's most frequent activation."""

Segments = Literal["all", "papers"]
"""Which segments are listed: all legal ones, or those of the papers' code."""


def candidates(
    chain: Chain,
    *,
    kinds: Collection[str] = ("drop", "fit"),
    kernel_sizes: Collection[int] = (1, 3, 5),
    max_length: int | None = 12,
    inserted: str | None = None,
    fewer_macs: bool = True,
    segments: Segments = "all",
    subsets: bool = False,
    weights: Sequence[float] | None = None,
) -> tuple[Candidate, ...]:
    """Enumerate the candidates of every legal segment.

    ``keep`` is always among them, one per block.

    Args:
        chain: the extracted network.
        kinds: which kinds beside ``keep``: ``drop``, ``fit``, ``merge``, or what other packages
            bring.
        kernel_sizes: side lengths of the square kernels that ``fit`` tries, dense and,
            where input and output agree in channels, depthwise.
        max_length: longest segment, in blocks; None for no limit.
        inserted: activation behind every ``fit`` and ``merge`` of several blocks that has
            none, as behind a linear bottleneck: its name, or ``usual`` for the network's most
            frequent one; None inserts none.
        fewer_macs: of ``fit`` and ``merge``, list only those that need fewer
            multiply-accumulates than what they replace; on a CPU the others are rarely faster.
        segments: ``all`` legal ones, or those that the ``papers``' code lists, where none becomes
            nothing at all (``depthopt.kinds.papers``).
        subsets: list merges of some of a segment's convolutions too, the others being identities,
            as LayerMerge does: of those that merge into the same convolution the one whose L1
            norms sum to most (arXiv 2406.12837, section 3.3). A segment of which nothing stays is
            among them, with ``none`` as its detail.
        weights: L1 norms by block, of ``depthopt.l1_norms(model, chain)``; ``subsets`` needs them.

    Raises:
        UsageError: an unknown kind, activation or choice of segments, a kernel size that is not odd
            and positive, or ``subsets`` without weights.
    """
    asked = (KEPT, *(name for name in KINDS.names if name in kinds and name != KEPT))
    for name in kinds:
        if name not in asked:
            KINDS.get(name)
    for size in kernel_sizes:
        if size < 1 or size % 2 == 0:
            raise UsageError(f"kernel size {size} is not odd and positive; use 1, 3, 5, ...")
        require(Size, "kernel size", size)
    if max_length is not None:
        require(Count, "max_length", max_length)
    behind = _inserted(chain, inserted)
    if segments not in get_args(Segments):
        known = ", ".join(get_args(Segments))
        raise UsageError(f"segments {segments!r} is unknown; known: {known}")
    if segments == "papers":
        found = tuple(published_segments(chain, max_length))
    else:
        found = tuple(chain.segments(max_length))
    wishes = Wishes(
        found,
        tuple(sorted(set(kernel_sizes))),
        weights=checked_weights(chain, weights) if subsets else None,
        identities=segments == "all",
    )
    return tuple(
        _with_activation(candidate, kind, behind)
        for kind in map(KINDS.get, asked)
        for candidate in kind.candidates(chain, wishes)
        if not (fewer_macs and kind.is_filtered) or _has_fewer_macs(chain, candidate)
    )


def _inserted(chain: Chain, name: str | None) -> Activation | None:
    """The activation that is put behind what has none.

    Raises:
        UsageError: there is none of that name that can stand without a parameter.
    """
    if name is None:
        return None
    if name == USUAL:
        return usual_activation(chain)
    if name not in PLAIN:
        known = ", ".join(sorted(PLAIN))
        raise UsageError(f"activation {name!r} cannot be inserted; known: {USUAL}, {known}")
    return Activation(name)


def usual_activation(chain: Chain) -> Activation | None:
    """A network's most frequent activation, of equals the first one; None if it has none."""
    counted = Counter(block.activation for block in chain.blocks if block.activation is not None)
    return max(counted, key=lambda activation: counted[activation], default=None)


def _with_activation(candidate: Candidate, kind: Kind, inserted: Activation | None) -> Candidate:
    several = kind.takes_inserted and candidate.end - candidate.start > 1
    if inserted is None or not several or candidate.activation is not None:
        return candidate
    return replace(candidate, activation=inserted)


def _has_fewer_macs(chain: Chain, candidate: Candidate) -> bool:
    size, macs = chain.blocks[candidate.start].layout.input_size, 0
    for operator in candidate.operators:
        macs += operator.macs(size)
        size = operator.output_size(size)
    return macs < chain.segment_macs(candidate.start, candidate.end)
