"""Data of the report's budget slider: the strip of blocks and every plan of the frontier."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

from depthopt.core.band import Band
from depthopt.core.candidate import KEPT, Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Frontier, FrontierPoint, Plan
from depthopt.errors import UsageError
from depthopt.kinds.kind import Kind, Pattern
from depthopt.kinds.latency_keys import candidate_ms, parameters, plan_parameters_read
from depthopt.kinds.registry import KINDS, kind_of
from depthopt.report.accuracy import point_measured, point_range, run_accuracy
from depthopt.report.another import Another, another
from depthopt.report.objective import own_costs
from depthopt.report.reading import RunArtefacts
from depthopt.tables.latency import LatencyTable


@dataclass(frozen=True, slots=True)
class BlockBox:
    """A block of the original network.

    Attributes:
        name: of its convolution.
        spec: the convolution, in words.
        activation: its activation, or an empty text.
        ms: that it takes, with the adds that end at it.
        parameters: that it has, with the projections that end at it.
        size: (height, width) of its output.
        cost: its importance where it is kept.
    """

    name: str
    spec: str
    activation: str
    ms: float
    parameters: int
    size: tuple[int, int]
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class KindStyle:
    """How a kind of candidates is named and drawn.

    Attributes:
        verb: what has happened to the blocks.
        letter: on a segment of the plan.
        colour: ``#rrggbb``, on light ground and on dark.
        pattern: over the colour.
        changes: whether it changes anything.
    """

    verb: str
    letter: str
    colour: tuple[str, str]
    pattern: Pattern
    changes: bool


@dataclass(frozen=True, slots=True)
class Replacement:
    """A candidate that replaces blocks in some plan.

    Attributes:
        start: the first block that goes.
        end: one past the last.
        kind: one of the names in ``Explorer.kinds``.
        spec: the convolution that runs instead, or an empty text.
        activation: what follows, or an empty text.
        ms: that it takes.
        cost: its importance alone, by what was solved for; None where only a longer merge was
            scored.
        parameters: that it has.
        width: share of the blocks' hidden channels that stay.
    """

    start: int
    end: int
    kind: str
    spec: str
    activation: str
    ms: float
    cost: float | None
    parameters: int
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class PlanPoint:
    """A plan of the frontier.

    Attributes:
        ms: predicted latency.
        cost: importance cost.
        budget: the ``budget.ms``, as text, that picks just this plan.
        replaced: indices of its replacements.
        nearer: what its parts take over what they would take in a network that reads as many
            weights as the original.
        expected: (worst, best) of the metric after a whole finetune; None: not measured.
        measured: (metric, share of a whole finetune that it had) where it was carried out.
    """

    ms: float
    cost: float
    budget: str
    replaced: tuple[int, ...]
    nearer: float = 1.0
    expected: tuple[float, float] | None = None
    measured: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Explorer:
    """A network and every plan of its frontier, fastest first.

    Attributes:
        original_ms: the original's measured latency.
        fixed_ms: the part of it that no candidate touches.
        blocks: of the original.
        skips: (source, target, whether a convolution lies on it).
        barriers: (position, reason).
        kinds: by name, the unchanged one and those of the replacements.
        unchanged: the kind of a block that no replacement covers.
        replacements: what the plans' indices refer to.
        points: the plans.
        picked: which of them the run took; None where that is unknown.
        another: makes a plan in a new run's folder.
        accuracy: what plans that were carried out say; None where none was.
    """

    original_ms: float
    fixed_ms: float
    blocks: tuple[BlockBox, ...]
    skips: tuple[tuple[int, int, bool], ...]
    barriers: tuple[tuple[int, str], ...]
    kinds: Mapping[str, KindStyle]
    unchanged: str
    replacements: tuple[Replacement, ...]
    points: tuple[PlanPoint, ...]
    picked: int | None
    another: Another
    accuracy: Band | None = None


def explorer(run: RunArtefacts) -> Explorer | None:
    """The slider's data. None if the run has not come that far.

    Raises:
        UsageError: a kind that the frontier uses is not known, or cannot be drawn.
    """
    chain, latency, frontier = run.chain, run.latency, run.frontier
    if chain is None or latency is None or frontier is None or run.original_ms is None:
        return None
    used = sorted({i for point in frontier.points for i in point.choices})
    taken = [i for i in used if frontier.candidates[i].replaces]
    kinds = {KEPT, *(frontier.candidates[i].kind for i in taken)}
    place = {index: place for place, index in enumerate(taken)}
    accuracy, cost = run_accuracy(run), own_costs(run)
    network = latency.network(chain)
    factor = network.factor(plan_parameters_read(chain, kept_blocks(chain)))
    at_original = partial(_ms, chain, latency, factor)
    return Explorer(
        original_ms=frontier.original_ms,
        fixed_ms=factor * network.fixed_ms,
        blocks=_boxes(chain, at_original, cost),
        skips=tuple((s.source, s.target, bool(s.branch)) for s in chain.skips),
        barriers=tuple((b.position, b.reason) for b in chain.barriers),
        kinds={name: _style(KINDS.get(name)) for name in KINDS.names if name in kinds},
        unchanged=KEPT,
        replacements=tuple(
            _replacement(chain, frontier.candidates[i], at_original, cost) for i in taken
        ),
        points=tuple(
            PlanPoint(
                point.latency_ms,
                point.cost,
                budget,
                tuple(place[i] for i in point.choices if i in place),
                network.factor(_read(chain, frontier, point)) / factor,
                _expected(accuracy, frontier, point),
                _measured(accuracy, frontier, point),
            )
            for point, budget in zip(frontier.points, budgets(frontier), strict=True)
        ),
        picked=_picked(frontier, run.plan),
        accuracy=accuracy,
        another=another(run),
    )


def _ms(chain: Chain, latency: LatencyTable, factor: float, candidate: Candidate) -> float:
    """Milliseconds of a candidate in a network of a footprint's factor."""
    return factor * candidate_ms(chain, candidate, latency)


def _read(chain: Chain, frontier: Frontier, point: FrontierPoint) -> int:
    return plan_parameters_read(chain, [frontier.candidates[i] for i in point.choices])


def _expected(
    known: Band | None, frontier: Frontier, point: FrontierPoint
) -> tuple[float, float] | None:
    found = None if known is None else point_range(known, frontier, point)
    return None if found is None else (found.worst, found.best)


def _measured(
    known: Band | None, frontier: Frontier, point: FrontierPoint
) -> tuple[float, float] | None:
    found = None if known is None else point_measured(known, frontier, point)
    return None if found is None else (found.found.metric, found.share)


def budgets(frontier: Frontier) -> list[str]:
    """For each plan, the shortest number of milliseconds that picks it and only it."""
    latencies = [point.latency_ms for point in frontier.points]
    return [
        _shortest(low, high)
        for low, high in zip(latencies, [*latencies[1:], math.inf], strict=True)
    ]


def _shortest(low: float, high: float) -> str:
    """The shortest decimal number that is at least ``low`` and below ``high``."""
    whole = max(0, math.floor(math.log10(low)) + 1) if low > 0 else 1
    for decimals in range(max(0, 3 - whole), 20):
        scale = 10**decimals
        text = f"{math.ceil(low * scale) / scale:.{decimals}f}"
        if low <= float(text) < high:
            return text
    return repr(low)


def _boxes(
    chain: Chain, ms_of: Callable[[Candidate], float], cost: Mapping[Candidate, float]
) -> tuple[BlockBox, ...]:
    return tuple(
        BlockBox(
            block.name,
            str(block.operator),
            str(block.activation or ""),
            ms_of(kept),
            parameters(chain, kept),
            block.layout.output_size,
            cost.get(kept, 0.0),
        )
        for block, kept in zip(chain.blocks, kept_blocks(chain), strict=True)
    )


def _style(kind: Kind) -> KindStyle:
    for colour in kind.colour:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
            raise UsageError(
                f"colour {colour!r} of the candidate kind {kind.name!r} is not #rrggbb, such as "
                "#1a7f5a"
            )
    if kind.pattern not in get_args(Pattern):
        known = ", ".join(map(repr, get_args(Pattern)))
        raise UsageError(
            f"pattern {kind.pattern!r} of the candidate kind {kind.name!r} is not one of {known}"
        )
    return KindStyle(kind.verb, kind.letter, kind.colour, kind.pattern, kind.name != KEPT)


def _replacement(
    chain: Chain,
    candidate: Candidate,
    ms_of: Callable[[Candidate], float],
    cost: Mapping[Candidate, float],
) -> Replacement:
    return Replacement(
        candidate.start,
        candidate.end,
        candidate.kind,
        " + ".join(map(str, candidate.operators)),
        str(candidate.activation or ""),
        ms_of(candidate),
        cost.get(candidate),
        parameters(chain, candidate),
        kind_of(candidate).width(chain, candidate),
    )


def _picked(frontier: Frontier, plan: Plan | None) -> int | None:
    if plan is None:
        return None
    found: Sequence[int] = [
        i for i, point in enumerate(frontier.points) if point.latency_ms == plan.latency_ms
    ]
    return found[0] if found else None
