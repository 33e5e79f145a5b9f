"""Find a row's place in a chain, and the candidate that it stands for."""

from collections.abc import Sequence
from dataclasses import replace

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.operators import Convolution
from depthopt.core.window import Window, segment_window
from depthopt.errors import TableError
from depthopt.frontier.published.importances import StateScore, SubsetScore
from depthopt.frontier.published.latencies import PublishedLatency
from depthopt.kinds.ends import activation_at, usual_activation
from depthopt.kinds.registry import composition


def require_fit(chain: Chain, rows: Sequence[PublishedLatency], first_block: int) -> None:
    """Refuse rows that do not fit this chain, and say where they would fit.

    Raises:
        TableError: one does not fit; the ``first_block`` with which all do is named.
    """
    for row in rows:
        if reason := _why_unfit(chain, row, first_block):
            raise TableError(
                f"{row.text} is not of {chain.model} with first_block {first_block}: {reason}; "
                + _advice(chain, rows)
            )


def _why_unfit(chain: Chain, row: PublishedLatency, first_block: int) -> str | None:
    start, end = row.start + first_block, row.end + first_block
    refusal = chain.why_illegal if end - start == 1 else chain.why_unmergeable
    if reason := refusal(start, end):
        return reason
    if row.stride is not None:
        stride = segment_window(chain, start, end).stride[0]
        if row.stride != stride:
            return f"its str is {row.stride}, that of blocks {start} to {end} {stride}"
    if end - start == 1 and row.kernel is not None:
        own = chain.blocks[start].operator
        if not isinstance(own, Convolution):
            return f"{chain.blocks[start].name} is not a convolution"
        if (row.kernel, row.kernel) != own.kernel_size or row.depthwise != own.is_depthwise:
            return f"its ker is {row.kernel}, is_dw {row.depthwise}, block {start} is {own}"
    return None


def _advice(chain: Chain, rows: Sequence[PublishedLatency]) -> str:
    """What ``first_block`` is, and with which all rows fit."""
    longest = max(row.end for row in rows)
    fitting = [
        str(first)
        for first in range(len(chain.blocks) - longest + 1)
        if all(_why_unfit(chain, row, first) is None for row in rows)
    ]
    if not fitting:
        return "no first_block fits every row: check the model and the file"
    return (
        f"every row fits with first_block {' or '.join(fitting[:3])} (the blocks before the "
        "files' position 0, commonly 1 for a stem that is not in the tables)"
    )


def merge_of(
    chain: Chain, row: PublishedLatency, kept: tuple[int, ...] | None, first_block: int
) -> Candidate:
    """The segment merged to the row's kernel. The kept block if that is the same.

    Args:
        chain: the network.
        row: it fits the chain.
        kept: the blocks whose convolutions stay; all if None.
        first_block: the block that lies after position 0.
    """
    start, end = row.start + first_block, row.end + first_block
    everything = tuple(range(start, end))
    kept = everything if kept is None else kept
    window = segment_window(chain, start, end, composed=kept)
    first, last = chain.blocks[start], chain.blocks[end - 1]
    if row.kernel is not None:
        window = window.centred((row.kernel, row.kernel))
    if row.depthwise is not None:
        groups = first.layout.in_channels if row.depthwise else 1
        window = Window(window.stride, window.offset, window.size, groups)
    if kept == everything and end - start == 1 and window == Window.of(first.operator):
        return kept_blocks(chain)[start]
    merged = window.convolution(
        first.layout.in_channels,
        last.layout.out_channels,
        first.layout.input_size,
        last.layout.output_size,
    )
    activation = chain.ending(start, end).activation
    return replace(composition(start, end, kept, merged), activation=activation)


def whole(chain: Chain, start: int, end: int) -> Candidate:
    """The merge of all convolutions of a segment, which may be a single block."""
    first, ending = chain.blocks[start].layout, chain.ending(start, end)
    merged = segment_window(chain, start, end).convolution(
        first.in_channels, ending.channels, first.input_size, ending.size
    )
    candidate = composition(start, end, tuple(range(start, end)), merged)
    return replace(candidate, activation=ending.activation)


def is_depthwise(chain: Chain, score: SubsetScore, first_block: int) -> bool:
    """Whether the convolutions that a row keeps compose to a depthwise one."""
    if score.depthwise is not None:
        return score.depthwise
    kept = tuple(position + first_block for position in score.kept)
    start, end = score.start + first_block, score.end + first_block
    return segment_window(chain, start, end, composed=kept).groups > 1


def with_insertion(chain: Chain, candidate: Candidate) -> Candidate:
    """LayerMerge's form of a candidate: a merge of several blocks ends with an activation.

    Where its last block has none, as at a linear bottleneck, the paper's networks have one
    inserted, while their importance is measured and when they are built.
    """
    several = candidate.end - candidate.start > 1
    if several and candidate.replaces and candidate.activation is None:
        return replace(candidate, activation=usual_activation(chain))
    return candidate


def with_states(chain: Chain, candidate: Candidate, score: StateScore) -> Candidate:
    """The 2023 method's form of a candidate, with or without an activation at either end.

    Raises:
        TableError: a row says that the files' first position has no activation, which is there
            whatever is chosen.
    """
    start, end = candidate.start, candidate.end
    if score.start == 0 and not score.start_active:
        raise TableError(
            f"row st 0, end {score.end} has st_act 0, but what lies before position 0 is not "
            "replaced; give it st_act 1"
        )
    was_active = score.start == 0 or activation_at(chain, start) is not None
    own = activation_at(chain, end)
    entry, exit_ = score.start_active != was_active, score.end_active != (own is not None)
    if not exit_:
        return replace(candidate, entry=int(entry))
    other = usual_activation(chain) if own is None else None
    return replace(
        whole(chain, start, end),
        activation=other,
        entry=int(entry),
        exit=1,
    )
