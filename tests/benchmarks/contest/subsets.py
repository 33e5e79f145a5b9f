"""LayerMerge's candidates: in a segment some convolutions are removed, the others composed.

A convolution can be removed, that is become the identity, where input and output agree in
channels and size. Of all kept subsets that merge into the same convolution the one with
the largest sum of L1 norms is listed (arXiv 2406.12837, section 3.3).
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

from torch import nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Block, Chain
from depthopt.core.operators import Activation, Convolution
from depthopt.core.window import segment_window
from depthopt.graph.trace import trace
from depthopt.kinds.merge import detail_of
from depthopt.rewrite.affine import folded
from depthopt.rewrite.fold import fold_norms


def subset_merges(
    model: nn.Module, chain: Chain, *, max_length: int | None, inserted: str | None
) -> tuple[Candidate, ...]:
    """Every merge of fewer than all convolutions of a segment that saves operations.

    Those that keep none are the drops; those that keep all, ``candidates`` lists.

    Args:
        model: the original network; it is not changed.
        chain: its chain.
        max_length: longest segment, in blocks.
        inserted: activation behind those that have none.
    """
    norms = l1_norms(model, chain)
    behind = None if inserted is None else Activation.parse(inserted)
    return tuple(
        candidate
        for start, end in chain.segments(max_length)
        if chain.why_unmergeable(start, end) is None
        for candidate in _of_segment(chain, start, end, norms, behind)
    )


def l1_norms(model: nn.Module, chain: Chain) -> list[float]:
    """The L1 norm of every block's weight, norms folded."""
    graph_module = trace(model, chain.input_size)
    fold_norms(graph_module)
    return [
        float(folded(graph_module.get_submodule(block.name))[0].abs().sum())
        for block in chain.blocks
    ]


def _of_segment(
    chain: Chain, start: int, end: int, norms: Sequence[float], inserted: Activation | None
) -> Iterator[Candidate]:
    ending, all_blocks = chain.ending(start, end), tuple(range(start, end))
    kept_of: dict[Convolution, tuple[int, ...]] = {_spec(chain, start, end, all_blocks): all_blocks}
    most = chain.segment_macs(start, end)
    for kept in sorted(_subsets(chain, start, end), key=lambda k: -sum(norms[i] for i in k)):
        kept_of.setdefault(_spec(chain, start, end, kept), kept)
    for spec, kept in kept_of.items():
        saves = spec.macs(chain.blocks[start].layout.input_size) < most
        if kept != all_blocks and saves and min(spec.padding) >= 0:
            activation, detail = ending.activation or inserted, detail_of(kept)
            yield Candidate(start, end, "merge", (spec,), activation, detail)


def _subsets(chain: Chain, start: int, end: int) -> Iterator[tuple[int, ...]]:
    """What stays of a segment's blocks if some of those that can be are removed, but one."""
    removable = [i for i in range(start, end) if _is_removable(chain.blocks[i])]
    for count in range(1, len(removable) + 1):
        for removed in combinations(removable, count):
            if kept := tuple(i for i in range(start, end) if i not in removed):
                yield kept


def _is_removable(block: Block) -> bool:
    layout = block.layout
    same = layout.in_channels == layout.out_channels
    return same and layout.input_size == layout.output_size


def _spec(chain: Chain, start: int, end: int, kept: tuple[int, ...]) -> Convolution:
    first, ending = chain.blocks[start].layout, chain.ending(start, end)
    window = segment_window(chain, start, end, composed=kept)
    return window.convolution(first.in_channels, ending.channels, first.input_size, ending.size)
