"""``fit``: one convolution in the segment's place, regressed on data."""

from collections.abc import Iterator

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.window import Window, region_window, segment_window
from depthopt.kinds.kind import Kind, Wishes


def _candidates(chain: Chain, wishes: Wishes) -> Iterator[Candidate]:
    """Square kernels of several sizes, dense and, where channels agree, depthwise."""
    for start, end in wishes.segments:
        yield from _of_segment(chain, start, end, wishes.kernel_sizes)


def _of_segment(
    chain: Chain, start: int, end: int, kernel_sizes: tuple[int, ...]
) -> Iterator[Candidate]:
    first, ending = chain.blocks[start], chain.ending(start, end)
    linear = chain.why_unmergeable(start, end) is None
    window = segment_window(chain, start, end) if linear else region_window(chain, start, end)
    if window is None:
        return
    channels, input_size = first.layout.in_channels, first.layout.input_size
    for size in kernel_sizes:
        if not _is_useful(size, window, input_size):
            continue
        centred = window.centred((min(size, window.size[0]), min(size, window.size[1])))
        groupings = [1] if channels != ending.channels or channels == 1 else [1, channels]
        for groups in groupings:
            new = Window(centred.stride, centred.offset, centred.size, groups).convolution(
                channels, ending.channels, input_size, ending.size
            )
            if min(new.padding) >= 0:
                yield Candidate(start, end, KIND.name, (new,), ending.activation)


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
)
