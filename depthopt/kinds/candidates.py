"""List the candidates of a chain's segments."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal, get_args

from depthopt.core.candidate import KEPT, Candidate
from depthopt.core.chain import Chain
from depthopt.core.numbers import Count, Share, ShareBelowOne, Size, require
from depthopt.core.operators import Activation
from depthopt.core.operators.activation import PLAIN
from depthopt.errors import UsageError
from depthopt.kinds.ends import usual_activation
from depthopt.kinds.kind import Fit, Kind, Wishes
from depthopt.kinds.papers import published_segments
from depthopt.kinds.registry import KINDS
from depthopt.kinds.subsets import checked_weights
from depthopt.tables.similarity import Similarities

USUAL = "usual"
"""Name that stands for a network's most frequent activation."""

WIDTHS, RANKS, WIDTH_STEP = (0.875, 0.75, 0.5, 0.25), (0.5, 0.25), 8
"""Shares of channels that are tried, hidden ones and of low rank, and the step runtimes like."""

COEFFICIENTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""What the block in front may count where two are averaged."""

SIMILARITY = "similarity"
"""Name that stands for coefficients by how similar two blocks are."""

Segments = Literal["all", "papers"]
"""Segments to list: all legal ones, or those of the papers' code."""


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
    end_activations: bool = False,
    fits: Collection[Fit] = ("dense", "depthwise"),
    ranks: Collection[float] = RANKS,
    widths: Collection[float] = WIDTHS,
    width_step: int = WIDTH_STEP,
    coefficients: Collection[float] | Literal["similarity"] = COEFFICIENTS,
    similarities: Similarities | None = None,
    similar_quantile: float | None = None,
) -> tuple[Candidate, ...]:
    """Enumerate the candidates of every legal segment.

    ``keep`` is always among them, one per block. Where segments that become nothing could make up
    the whole chain, those at its start are left out, so that something is left in every plan.

    Args:
        chain: the extracted network.
        kinds: which kinds beside ``keep``: ``drop``, ``fit``, ``merge``, ``narrow``, ``share``, or
            what other packages bring.
        kernel_sizes: side lengths of the square kernels that ``fit`` tries.
        max_length: longest segment, in blocks; None for no limit.
        inserted: activation behind every ``fit`` and ``merge`` of several blocks that has
            none, as behind a linear bottleneck: its name, or ``usual`` for the network's most
            frequent one; None inserts none.
        fewer_macs: of ``fit`` and ``merge``, list only those that need fewer
            multiply-accumulates than what they replace; on a CPU the others are rarely faster.
        segments: ``all`` legal ones, or those that the ``papers``' code lists, where none becomes
            nothing at all (``depthopt.kinds.papers``), and where ``share`` has the last blocks.
        subsets: list merges of some of a segment's convolutions too, the others being identities,
            as LayerMerge does: of those that merge into the same convolution the one whose L1
            norms sum to most (arXiv 2406.12837, section 3.3). A segment of which nothing stays is
            among them, with ``none`` as its detail.
        weights: L1 norms by block, of ``depthopt.l1_norms(model, chain)``; ``subsets`` needs them.
        end_activations: list every merge, of single blocks too, with and without an activation at
            either end, ``inserted`` where the original has none: the 2023 paper's
            ``I(st, end, a, b)`` (arXiv 2301.12187), as far as its code lists it, and what the parts
            of a merge that is realised as several need (``depthopt.kinds.ends``). ``inserted``
            must be the network's usual activation: what stands before a candidate it does not say.
        fits: what ``fit`` puts in a segment's place: a ``dense`` convolution, a ``depthwise`` one
            where input and output agree in channels, or two in a row: ``separable``, a
            depthwise one and a 1x1 one behind it, and ``low_rank``, a 1x1 one to few channels and
            one of the kernel's size behind it.
        ranks: numbers of those few channels, as shares of the fewer of input's and output's.
        widths: shares of a branch's hidden channels that ``narrow`` tries.
        width_step: of which each number of hidden channels, and of a low rank's, is a multiple, as
            runtimes like it.
        coefficients: from 0 to 1, what the block in front may count where ``share`` averages two;
            or ``similarity``: how similar the two are, as MKA has it (arXiv 2406.16330).
        similarities: of the network's blocks (``depthopt.similarities``); needed for coefficients
            by similarity, and for ``similar_quantile``.
        similar_quantile: list a run for ``share`` only where the least similarity of two of its
            blocks is at least this quantile of all; None for no such limit.

    Raises:
        UsageError: an unknown kind, activation or choice of segments, a kernel size that is not odd
            and positive, an unknown fit, a width or rank that is not between 0 and 1, ``subsets``
            without weights, ``end_activations`` with another than the usual activation, or
            similarities that are needed and not given, or of another model.
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
    if end_activations and inserted is None:
        raise UsageError(
            "end_activations needs the activation that comes where the network has none; give "
            f"inserted, such as {USUAL}"
        )
    if end_activations and behind != usual_activation(chain):
        raise UsageError(
            f"end_activations inserts the network's usual activation, {usual_activation(chain)}, "
            f"not {inserted}; give inserted: {USUAL}"
        )
    if segments not in get_args(Segments):
        known = ", ".join(get_args(Segments))
        raise UsageError(f"segments {segments!r} is unknown; known: {known}")
    if segments == "papers":
        found = tuple(published_segments(chain, max_length))
    else:
        found = tuple(chain.segments(max_length))
    _check_similarities(chain, coefficients, similar_quantile, similarities)
    wishes = Wishes(
        found,
        tuple(sorted(set(kernel_sizes))),
        weights=checked_weights(chain, weights) if subsets else None,
        identities=segments == "all",
        ends=behind if end_activations else None,
        fits=_checked_fits(fits),
        ranks=_checked_shares("rank", ranks),
        widths=_checked_shares("width", widths),
        width_step=require(Count, "width_step", width_step),
        coefficients=_checked_coefficients(coefficients),
        similarities=similarities,
        published=segments == "papers",
        least_similarity=0.0
        if similar_quantile is None or similarities is None
        else similarities.quantile(similar_quantile),
    )
    return _leaving_something(
        chain,
        [
            candidate
            if wishes.ends and kind.takes_ends
            else _with_activation(candidate, kind, behind)
            for kind in map(KINDS.get, asked)
            for candidate in kind.candidates(chain, wishes)
            if not (fewer_macs and kind.is_filtered) or _has_fewer_macs(chain, candidate)
        ],
    )


def _leaving_something(chain: Chain, listed: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates without those at the start that become nothing, where all blocks might."""
    reached = {0}
    for candidate in sorted(listed, key=lambda candidate: candidate.start):
        if not candidate.operators and candidate.start in reached:
            reached.add(candidate.end)
    if len(chain.blocks) not in reached:
        return tuple(listed)
    return tuple(candidate for candidate in listed if candidate.start or candidate.operators)


def _checked_shares(name: str, shares: Collection[float]) -> tuple[float, ...]:
    for share in shares:
        if not 0 < share < 1:
            raise UsageError(f"{name} {share} is not a share between 0 and 1; use 0.5, 0.25, ...")
    return tuple(sorted(set(shares), reverse=True))


def _checked_coefficients(given: Collection[float] | str) -> tuple[float, ...]:
    """Coefficients, rising; none where they are to be similarities."""
    if given == SIMILARITY:
        return ()
    if isinstance(given, str):
        raise UsageError(f"coefficients {given!r} are unknown; give numbers or {SIMILARITY}")
    return tuple(sorted({float(require(Share, "coefficient", each)) for each in given}))


def _check_similarities(
    chain: Chain,
    coefficients: Collection[float] | str,
    quantile: float | None,
    similarities: Similarities | None,
) -> None:
    """Refuse wishes for similarities where these are not known, or are of another network."""
    if quantile is not None:
        require(ShareBelowOne, "similar_quantile", quantile)
    if similarities is None and (coefficients == SIMILARITY or quantile is not None):
        raise UsageError(
            "how similar blocks are must be known to average them by it; give similarities"
        )
    if similarities is not None and similarities.model != chain.model:
        raise UsageError(f"the similarities are of {similarities.model}, not of {chain.model}")


def _checked_fits(fits: Collection[Fit]) -> tuple[Fit, ...]:
    known: tuple[Fit, ...] = get_args(Fit)
    for name in fits:
        if name not in known:
            raise UsageError(f"fit {name!r} is unknown; known: {', '.join(known)}")
    return tuple(name for name in known if name in fits)


def _inserted(chain: Chain, name: str | None) -> Activation | None:
    """The activation that is put behind what has none.

    Raises:
        UsageError: there is no activation of that name without a parameter.
    """
    if name is None:
        return None
    if name == USUAL:
        return usual_activation(chain)
    if name not in PLAIN:
        known = ", ".join(sorted(PLAIN))
        raise UsageError(f"activation {name!r} cannot be inserted; known: {USUAL}, {known}")
    return Activation(name)


def _with_activation(candidate: Candidate, kind: Kind, inserted: Activation | None) -> Candidate:
    several = kind.takes_inserted and candidate.end - candidate.start > 1
    if inserted is None or not several or candidate.activation is not None:
        return candidate
    return replace(candidate, activation=inserted)


def _has_fewer_macs(chain: Chain, candidate: Candidate) -> bool:
    """Whether it needs fewer; of a block whose ends change it takes the block's own."""
    if candidate.end - candidate.start == 1 and (candidate.entry, candidate.exit) != (0, 0):
        return True
    size, macs = chain.blocks[candidate.start].layout.input_size, 0
    for operator in candidate.operators:
        macs += operator.macs(size)
        size = operator.output_size(size)
    return macs < chain.segment_macs(candidate.start, candidate.end)
