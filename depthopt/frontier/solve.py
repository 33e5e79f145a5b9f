"""From a chain, its candidates and its tables to the frontier of plans."""

import math
from collections.abc import Collection, Sequence

import numpy as np

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Activation
from depthopt.core.plan import Frontier, FrontierPoint
from depthopt.errors import TableError, UsageError
from depthopt.frontier.caps import Cap, allowed, amounts
from depthopt.frontier.extended import extended
from depthopt.frontier.lookup import Objective, costs, latencies
from depthopt.frontier.nodes import Nodes
from depthopt.kinds.registry import is_part, kind_of
from depthopt.solver.capped import solve_capped
from depthopt.solver.options import Options, Solution
from depthopt.solver.pieces import Pieces, fastest_runs
from depthopt.solver.stages import Mode, solve_options
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
    part. Of plans with equal latency and cost the one that touches fewer blocks is
    taken, then the one whose candidates are listed first, seen from the chain's end.

    A merge of all convolutions of a segment may also be realised as several merges
    (or linear blocks kept) with no activation between them, where that is faster. The
    function is the same but for the border, where each pads for itself, so the merge's
    own cost is taken for them together, as arXiv 2301.12187 does. Where ``end_activations`` were
    asked of ``candidates``, there are parts for this at every position, which stand for nothing
    else.

    Consecutive candidates agree on the state in between (``Candidate.entry`` and ``exit``); the
    network begins in state 0 and may end in any.

    Args:
        chain: the network.
        candidates: what its segments may become, one ``keep`` per block among them.
        latency: median milliseconds of all that the candidates run.
        importance: cost of every candidate; a ``keep`` costs nothing where it has no entry.
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
    chosen = allowed(chain, candidates, keep, replace, caps)
    scored = [k for k, candidate in enumerate(candidates) if not is_part(candidate)]
    own = costs([candidates[k] for k in scored], importance, objective, alpha=alpha)
    cost = [math.inf] * len(candidates)
    for k, value in zip(scored, own, strict=True):
        cost[k] = value
    if objective == "metric":
        cost = extended(candidates, [k for k in chosen if math.isfinite(cost[k])], cost)
    options, members = _options(
        Nodes.of(chain, candidates),
        candidates,
        chosen,
        latencies(chain, candidates, latency),
        cost,
        inner_merges=inner_merges,
    )
    used, most = amounts(chain, candidates, caps)
    if most.size:
        together = np.array([used[list(run)].sum(axis=0) for run in members])
        solution = solve_capped(options, together, most, mode, fixed_ms=network.fixed_ms)
    else:
        solution = solve_options(options, mode, fixed_ms=network.fixed_ms)
    fastest_ms = min(float(solution.latency_ms[0]), network.total.median_ms)
    if fastest_ms <= 0:
        raise TableError(
            f"by the latency table {chain.model}, or a plan of it, takes {fastest_ms:.4g} ms; "
            "measure it anew"
        )
    return Frontier(
        model=chain.model,
        input_size=chain.input_size,
        original_ms=network.total.median_ms,
        candidates=tuple(candidates),
        points=_points(solution, members),
    )


def _options(
    nodes: Nodes,
    candidates: Sequence[Candidate],
    chosen: Sequence[int],
    latency_ms: Sequence[float],
    cost: Sequence[float],
    *,
    inner_merges: bool,
) -> tuple[Options, list[tuple[int, ...]]]:
    """Options and, for each, the candidates that make it up, composed runs included."""
    whole = [k for k in chosen if math.isfinite(cost[k])]
    ways: list[tuple[int, tuple[int, ...], float]] = [(k, (k,), latency_ms[k]) for k in whole]
    if inner_merges:
        ways += _composed(nodes, candidates, chosen, latency_ms, cost)
    rows = [
        (*nodes.ends(c), run_ms, cost[k], c.end - c.start if c.replaces else 0)
        for k, c, run_ms in ((k, candidates[k], run_ms) for k, _, run_ms in ways)
    ]
    start, end, latencies, costs, touched = zip(*rows, strict=True) if rows else ((),) * 5
    nodes.require_a_plan(start, end)
    options = Options.of(
        nodes.count, start=start, end=end, latency_ms=latencies, cost=costs, touched=touched
    )
    return options, [run for _, run, _ in ways]


def _composed(
    nodes: Nodes,
    candidates: Sequence[Candidate],
    chosen: Sequence[int],
    latency_ms: Sequence[float],
    cost: Sequence[float],
) -> list[tuple[int, tuple[int, ...], float]]:
    """Merges for which a run of smaller ones is faster: (merge, run, the run's latency)."""
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
        (whole, tuple(parts[i] for i in run), float(run_ms))
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
