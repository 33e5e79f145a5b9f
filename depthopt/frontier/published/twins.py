"""Find rows that time the same convolution and do not agree.

Repeated blocks are timed once a row, and equal rows agree within their deviation. Those
that do not were timed on another input: the 2023 code traces its VGG19 such that a segment
behind a pooling is timed before it, at four times the pixels (7.40 and 2.43 ms for one
convolution). An average would be true of neither.
"""

import math
from collections.abc import Sequence
from itertools import combinations

from depthopt.core.chain import Chain
from depthopt.errors import TableError
from depthopt.frontier.published.latencies import PublishedLatency
from depthopt.tables.latency import LatencyKey

TWIN_SHARE = 0.25
"""Share of the faster time by which equal convolutions may differ, however precise."""

TWIN_DEVIATIONS = 5.0
"""Standard deviations of the difference by which equal convolutions may differ."""


def require_agreement(
    chain: Chain, key: LatencyKey, rows: Sequence[PublishedLatency], first_block: int
) -> None:
    """Refuse rows of one convolution that contradict one another.

    Two times contradict where they differ by more than ``TWIN_SHARE`` of the faster one and
    by more than ``TWIN_DEVIATIONS`` standard deviations of their difference.

    Raises:
        TableError: two do; both are named.
    """
    for one, other in combinations(rows, 2):
        if not _contradict(one, other):
            continue
        slow, fast = sorted((one, other), key=lambda row: row.time_ms, reverse=True)
        pooled = [row for row in (slow, fast) if _behind_pooling(chain, row, first_block)]
        why = (
            f"{pooled[0].text} begins behind a pooling, and was likely timed before it"
            if pooled
            else "one was likely timed on another input"
        )
        raise TableError(
            f"{slow.text} takes {slow.time_ms:.4g} ms and {fast.text} {fast.time_ms:.4g} ms, but "
            f"they are the same convolution ({key}); {why}: measure it again"
        )


def _contradict(one: PublishedLatency, other: PublishedLatency) -> bool:
    apart = abs(one.time_ms - other.time_ms)
    deviation = math.hypot(one.stdev_ms, other.stdev_ms)
    return apart > max(TWIN_SHARE * min(one.time_ms, other.time_ms), TWIN_DEVIATIONS * deviation)


def _behind_pooling(chain: Chain, row: PublishedLatency, first_block: int) -> bool:
    """Whether the tensor that the segment reads is smaller than what the block before writes."""
    start = row.start + first_block
    if start == 0:
        return False
    return chain.blocks[start - 1].layout.output_size != chain.blocks[start].layout.input_size
