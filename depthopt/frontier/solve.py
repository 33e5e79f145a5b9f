"""Solve a chain's candidates and tables for the frontier of plans."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Activation
from depthopt.core.plan import Frontier, FrontierPoint
from depthopt.errors import TableError, UsageError
from depthopt.frontier.by_footprint import solve_by_footprint
from depthopt.frontier.caps import Cap, allowed, amounts
from depthopt.frontier.extended import extended
from depthopt.frontier.joined import joined_fits
from depthopt.frontier.lookup import Objective, costs, latencies
from depthopt.frontier.nodes import Nodes
from depthopt.kinds.latency_keys import parameters_read
from depthopt.kinds.registry import is_part, kind_of
from depthopt.solver.options import Options, Solution
from depthopt.solver.pieces import Pieces, fastest_runs
from depthopt.solver.stages import Mode
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable


def solve(
    chain: Chain,
    candidates: Sequence[Candidate],
    latency: LatencyTable,
    importance: ImportanceTable,
    *,
    mode: Mode | None = None,
    objective: Objective = "cost",
    alpha: float = 0.0,
    keep: Collection[str] = (),
    replace: Collection[str] = (),
    caps: Sequence[Cap] = (),
    inner_merges: bool = True,
) -> Frontier:
    """Every Pareto-optimal trade of predicted latency against importance cost.

    A plan is a run of candidates that covers the chain; its latency is the sum of
    theirs, with the residual adds that they leave in place, plus the network's fixed
    part, times the factor of its footprint (``frontier.by_footprint``). Of plans with
    equal latency and cost the one that touches fewer blocks is taken, then the one whose
    candidates are listed first, seen from the chain's end.

    A merge of all convolutions of a segment may also be realised as several merges
    (or linear blocks kept) with no activation between them, where that is faster. The
    function is the same but for the border, where each pads for itself, so the merge's
    own cost is taken for them together, as arXiv 2301.12187 does. Where ``end_activations`` were
    asked of ``candidates``, there are parts for this at every position, which stand for nothing
    else.

    Fits in a row that are one convolution once fused (``kinds.chained``) cost what they cost one
    by one, but take what that convolution takes, where the table has it.

    Consecutive candidates agree on the state in between (``Candidate.entry`` and ``exit``); the
    network begins in state 0 and may end in any.

    Args:
        chain: the network.
        candidates: what its segments may become, one ``keep`` per block among them.
        latency: median milliseconds of all that the candidates run.
        importance: cost of every candidate; a ``keep`` costs nothing where it has no entry. Those
            that it names as beaten are in no plan.
        mode: ``Exact()`` if None, else ``Bucketed(resolution_ms)`` or ``Epsilon(e)``.
        objective: ``cost`` minimises the sum of the table's costs. LayerMerge's ``exp_metric``
            maximises the sum of exp(change of the metric, as a fraction), 1 for a block that
            is kept and has no entry; the 2023 paper's ``metric`` that of the changes less
            ``alpha`` times their mean over single layers, and guesses what a merge loses from
            its parts too (``frontier.extended``). A plan's cost is then what it lacks of the
            sum of the original network, were nothing lost by keeping it (``frontier.lookup``).
        alpha: of ``metric``.
        keep: names of blocks that must stay.
        replace: names of blocks that must not stay.
        caps: further limits that every plan of the frontier respects.
        inner_merges: whether a merge may be realised as several.

    Raises:
        TableError: a gap, a NaN, negative or infinite entry, or another model's table.
        UsageError: an empty chain, an unknown block, or constraints that no plan meets.
    """
    if not chain.blocks:
        raise UsageError(f"{chain.model} has no blocks to solve for; extract a convolutional model")
    if importance.model != chain.model:
        raise TableError(
            f"the importance table is of {importance.model}, the chain of {chain.model}; "
            "estimate the importance of this model"
        )
    network = latency.network(chain)
    beaten = set(importance.beaten)
    allowed_ = allowed(chain, candidates, keep, replace, caps)
    chosen = [k for k in allowed_ if candidates[k] not in beaten]
    scored = [k for k, c in enumerate(candidates) if not is_part(c) and c not in beaten]
    own = costs([candidates[k] for k in scored], importance, objective, alpha=alpha)
    cost = [math.inf] * len(candidates)
    for k, value in zip(scored, own, strict=True):
        cost[k] = value
    if objective == "metric":
        cost = extended(candidates, [k for k in chosen if math.isfinite(cost[k])], cost)
    nodes, ms = Nodes.of(chain, candidates), latencies(chain, candidates, latency)
    whole = [k for k in chosen if math.isfinite(cost[k])]
    runs = joined_fits(chain, candidates, whole, ms, cost, latency)
    ways = [_Way((k,), (k,), ms[k], cost[k]) for k in whole]
    if inner_merges:
        ways += _composed(nodes, candidates, chosen, ms, cost)
    ways += [
        _Way(run.members, (i,), run.latency_ms, run.cost)
        for i, run in enumerate(runs, len(candidates))
    ]
    options, taken = _options(nodes, candidates, ways)
    listed = (*candidates, *(run.one for run in runs))
    used, most = amounts(chain, candidates, runs, caps)
    read = np.array([parameters_read(chain, each) for each in listed], np.float64)
    together, weights = (
        np.array([amount[list(way.runs)].sum(axis=0) for way in taken]) for amount in (used, read)
    )
    solution = solve_by_footprint(options, together, most, weights, network, mode)
    fastest_ms = min(float(solution.latency_ms[0]), network.total.median_ms)
    if fastest_ms <= 0:
        raise TableError(
            f"by the latency table {chain.model}, or a plan of it, takes {fastest_ms:.4g} ms; "
            "measure it again"
        )
    return Frontier(
        model=chain.model,
        input_size=chain.input_size,
        original_ms=network.total.median_ms,
        candidates=tuple(candidates),
        points=_points(solution, [way.members for way in taken]),
    )


class _Way(NamedTuple):
    """Candidates in a row that the solver takes together.

    Attributes:
        members: indices of the candidates.
        runs: what runs, as indices of the candidates and, behind them, of the joined fits.
        latency_ms: what that takes.
        cost: what the members add to the objective.
    """

    members: tuple[int, ...]
    runs: tuple[int, ...]
    latency_ms: float
    cost: float


def _options(
    nodes: Nodes, candidates: Sequence[Candidate], ways: Sequence[_Way]
) -> tuple[Options, list[_Way]]:
    """Options, and the way that each is."""
    rows = list[tuple[int, int, float, float, int]]()
    taken = list[_Way]()
    for way in ways:
        run = [candidates[k] for k in way.members]
        touched = sum(c.end - c.start for c in run if c.replaces)
        for start, end in nodes.ways(run):
            rows.append((start, end, way.latency_ms, way.cost, touched))
            taken.append(way)
    starts, ends, latencies, costs, touches = zip(*rows, strict=True) if rows else ((),) * 5
    nodes.require_a_plan(starts, ends)
    options = Options.of(
        nodes.count, start=starts, end=ends, latency_ms=latencies, cost=costs, touched=touches
    )
    return options, taken


def _composed(
    nodes: Nodes,
    candidates: Sequence[Candidate],
    chosen: Sequence[int],
    latency_ms: Sequence[float],
    cost: Sequence[float],
) -> list[_Way]:
    """Merges for which a run of smaller ones is faster."""
    compositions = [k for k in chosen if kind_of(candidates[k]).is_composition(candidates[k])]
    wholes = [k for k in compositions if candidates[k].replaces and math.isfinite(cost[k])]
    if not wholes:
        return []
    known = set(wholes)
    parts = wholes + [k for k in compositions if k not in known]
    activations: dict[Activation | None, int] = {None: 0}
    for k in parts:
        activations.setdefault(candidates[k].activation, len(activations))
    after = np.array([activations[candidates[k].activation] for k in parts], np.int64)
    start, end = np.array([nodes.ends(candidates[k]) for k in parts], np.int64).T
    runs = fastest_runs(
        nodes.count,
        Pieces(start, end, np.array([latency_ms[k] for k in parts], np.float64), after),
        start[: len(wholes)],
        end[: len(wholes)],
        after[: len(wholes)],
    )
    return [
        _Way(members := tuple(parts[i] for i in run), members, float(run_ms), cost[whole])
        for whole, run, run_ms in zip(wholes, runs.pieces, runs.latency_ms, strict=True)
        if len(run) > 1 and run_ms < latency_ms[whole]
    ]


def _points(solution: Solution, members: Sequence[tuple[int, ...]]) -> tuple[FrontierPoint, ...]:
    offsets, choices = solution.offsets.tolist(), solution.choices.tolist()
    rows = zip(solution.latency_ms.tolist(), solution.cost.tolist(), strict=True)
    return tuple(
        FrontierPoint(
            latency_ms=latency_ms,
            cost=cost,
            choices=tuple(k for i in choices[offsets[p] : offsets[p + 1]] for k in members[i]),
        )
        for p, (latency_ms, cost) in enumerate(rows)
    )
