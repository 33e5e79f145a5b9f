"""Everything that a chain's segments may become."""

from collections.abc import Collection
from dataclasses import replace

from depthopt.core.candidate import KEPT, Candidate
from depthopt.core.chain import Chain
from depthopt.core.numbers import Count, Size, require
from depthopt.core.operators import Activation
from depthopt.core.operators.activation import PLAIN
from depthopt.errors import UsageError
from depthopt.kinds.kind import Kind, Wishes
from depthopt.kinds.registry import KINDS


def candidates(
    chain: Chain,
    *,
    kinds: Collection[str] = ("drop", "fit"),
    kernel_sizes: Collection[int] = (1, 3, 5),
    max_length: int | None = 12,
    inserted: str | None = None,
    fewer_macs: bool = True,
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
            none, as behind a linear bottleneck; None inserts none.
        fewer_macs: of ``fit`` and ``merge``, list only those that need fewer
            multiply-accumulates than what they replace; the others are rarely faster.

    Raises:
        UsageError: an unknown kind or activation, or a kernel size that is not odd and
            positive.
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
    if inserted is not None and inserted not in PLAIN:
        known = ", ".join(sorted(PLAIN))
        raise UsageError(f"activation {inserted!r} cannot be inserted; known: {known}")
    behind = None if inserted is None else Activation(inserted)
    wishes = Wishes(tuple(chain.segments(max_length)), tuple(sorted(set(kernel_sizes))))
    return tuple(
        _with_activation(candidate, kind, behind)
        for kind in map(KINDS.get, asked)
        for candidate in kind.candidates(chain, wishes)
        if not (fewer_macs and kind.is_filtered) or _has_fewer_macs(chain, candidate)
    )


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
