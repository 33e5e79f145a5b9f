"""Everything that a chain's segments may become."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain as concatenate
from typing import Literal

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain, Skip
from depthopt.core.operators import Activation, Convolution
from depthopt.core.operators.activation import PLAIN
from depthopt.core.window import Window, region_window, segment_window
from depthopt.errors import UsageError
from depthopt.kinds.merge import detail_of

Kind = Literal["keep", "merge", "drop", "fit"]

KINDS: tuple[Kind, ...] = ("keep", "drop", "fit", "merge")


def candidates(
    chain: Chain,
    *,
    kinds: Collection[Kind] = ("drop", "fit"),
    kernel_sizes: Collection[int] = (1, 3, 5),
    max_length: int | None = 12,
    inserted: str | None = None,
    fewer_macs: bool = True,
) -> tuple[Candidate, ...]:
    """Enumerate the candidates of every legal segment.

    ``keep`` is always among them, one per block.

    Args:
        chain: the extracted network.
        kinds: which kinds beside ``keep``: ``drop``, ``fit``, ``merge``.
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
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"candidate kind {kind!r} is unknown; known: {', '.join(KINDS)}")
    for size in kernel_sizes:
        if size < 1 or size % 2 == 0:
            raise UsageError(f"kernel size {size} is not odd and positive; use 1, 3, 5, ...")
    if inserted is not None and inserted not in PLAIN:
        known = ", ".join(sorted(PLAIN))
        raise UsageError(f"activation {inserted!r} cannot be inserted; known: {known}")
    parts: list[Iterator[Candidate]] = [iter(kept_blocks(chain))]
    segments = tuple(chain.segments(max_length))
    if "drop" in kinds:
        parts.append(_drops(chain))
    if "fit" in kinds:
        parts += [_fits(chain, start, end, kernel_sizes) for start, end in segments]
    if "merge" in kinds:
        parts += [_merges(chain, start, end) for start, end in segments]
    behind = None if inserted is None else Activation(inserted)
    return tuple(
        _with_activation(candidate, behind)
        for candidate in concatenate.from_iterable(parts)
        if not fewer_macs or candidate.kind in {"keep", "drop"} or _has_fewer_macs(chain, candidate)
    )


def _with_activation(candidate: Candidate, inserted: Activation | None) -> Candidate:
    several = candidate.kind in {"fit", "merge"} and candidate.end - candidate.start > 1
    if inserted is None or not several or candidate.activation is not None:
        return candidate
    return replace(candidate, activation=inserted)


def _drops(chain: Chain) -> Iterator[Candidate]:
    """One per skip whose branch can go while nothing else ends there."""
    for skip in chain.skips:
        start, end = skip.source, skip.target
        if chain.why_illegal(start, end) is not None:
            continue
        if [other for other in chain.skips_to(end) if other.source >= start] != [skip]:
            continue
        activation = chain.ending(start, end).activation
        if _is_repeated(chain, skip, activation):
            activation = None
        convolutions = (layer.operator for layer in skip.branch)
        remaining = tuple(o for o in convolutions if isinstance(o, Convolution))
        yield Candidate(start, end, "drop", remaining, activation)


def _is_repeated(chain: Chain, skip: Skip, activation: Activation | None) -> bool:
    """Whether the identity skip's tensor has been through the same activation already."""
    if activation is None or not activation.is_idempotent or skip.branch or skip.source == 0:
        return False
    if chain.open_skips(skip.source, skip.target):
        return False
    before = chain.ending(0, skip.source)
    return before.activation == activation and before.output == chain.blocks[skip.source].input


def _fits(chain: Chain, start: int, end: int, kernel_sizes: Collection[int]) -> Iterator[Candidate]:
    first, ending = chain.blocks[start], chain.ending(start, end)
    linear = chain.why_unmergeable(start, end) is None
    window = segment_window(chain, start, end) if linear else region_window(chain, start, end)
    if window is None:
        return
    for size in sorted(set(kernel_sizes)):
        if not _is_useful(size, window, first.layout.input_size):
            continue
        centred = window.centred((min(size, window.size[0]), min(size, window.size[1])))
        channels = first.layout.in_channels
        groupings = [1] if channels != ending.channels or channels == 1 else [1, channels]
        for groups in groupings:
            spec = Window(centred.stride, centred.offset, centred.size, groups).convolution(
                channels, ending.channels, first.layout.input_size, ending.size
            )
            if min(spec.padding) >= 0:
                yield Candidate(start, end, "fit", (spec,), ending.activation)


def _is_useful(size: int, window: Window, input_size: tuple[int, int]) -> bool:
    """Whether a kernel of this size sees more than the next smaller odd one."""
    if size == 1:
        return True
    smaller = size - 2
    beyond_window = smaller >= max(window.size)
    beyond_input = smaller >= 2 * max(input_size) - 1
    return not (beyond_window or beyond_input)


def _merges(chain: Chain, start: int, end: int) -> Iterator[Candidate]:
    """The segment's convolutions, all of them, composed (the 2023 paper's merge).

    Of a single block, where parallel branches merge into it.
    """
    several = end - start > 1 or bool(chain.covered(start, end))
    if not several or chain.why_unmergeable(start, end) is not None:
        return
    first, ending = chain.blocks[start], chain.ending(start, end)
    window = segment_window(chain, start, end)
    spec = window.convolution(
        first.layout.in_channels, ending.channels, first.layout.input_size, ending.size
    )
    if min(spec.padding) >= 0:
        detail = detail_of(range(start, end))
        yield Candidate(start, end, "merge", (spec,), ending.activation, detail)


def _has_fewer_macs(chain: Chain, candidate: Candidate) -> bool:
    size, macs = chain.blocks[candidate.start].layout.input_size, 0
    for operator in candidate.operators:
        macs += operator.macs(size)
        size = operator.output_size(size)
    return macs < chain.segment_macs(candidate.start, candidate.end)
