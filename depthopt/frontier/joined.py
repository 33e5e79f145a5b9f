"""Consecutive fits that the solver takes together, as one convolution."""

from collections.abc import Sequence
from dataclasses import dataclass

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.kinds.chained import joins
from depthopt.kinds.latency_keys import held_ms
from depthopt.tables.latency import LatencyTable


@dataclass(frozen=True, slots=True)
class Joined:
    """Consecutive fits that become one convolution when fused.

    Attributes:
        members: their indices among the candidates.
        one: the fit that computes the same; it need not be a candidate.
        latency_ms: what it takes.
        cost: what the members cost together.
    """

    members: tuple[int, ...]
    one: Candidate
    latency_ms: float
    cost: float


def joined_fits(
    chain: Chain,
    candidates: Sequence[Candidate],
    chosen: Sequence[int],
    latency_ms: Sequence[float],
    cost: Sequence[float],
    table: LatencyTable,
) -> tuple[Joined, ...]:
    """The consecutive fits that may be best, among those that make the same convolution.

    Which they are decides the cost alone, as all of them take what that convolution takes. Where
    the table lacks it, fits take what they take one by one.

    Args:
        chain: the network.
        candidates: what its segments may become.
        chosen: indices of those that may be in a plan.
        latency_ms: of every candidate.
        cost: of every candidate.
        table: of the latencies.
    """
    alone = {candidates[k]: Joined((k,), candidates[k], latency_ms[k], cost[k]) for k in chosen}
    best = {candidate: [one] for candidate, one in alone.items()}
    for first, second, both in joins(chain, alone):
        both_ms, behind = held_ms(chain, both, table), alone[second]
        for before in best[first]:
            in_turn = before.latency_ms + behind.latency_ms
            members, together = before.members + behind.members, before.cost + behind.cost
            run = Joined(members, both, in_turn if both_ms is None else both_ms, together)
            best[both] = _with(best.get(both, ()), run)
    return tuple(run for runs in best.values() for run in runs if len(run.members) > 1)


def joined_ms(chain: Chain, run: Joined, latency_ms: Sequence[float], table: LatencyTable) -> float:
    """Milliseconds of fits as one convolution. Their sum if the table lacks it.

    Args:
        chain: the network.
        run: the fits.
        latency_ms: of every candidate, by this table.
        table: of the latencies.
    """
    held = held_ms(chain, run.one, table)
    return sum(latency_ms[k] for k in run.members) if held is None else held


def _with(runs: Sequence[Joined], run: Joined) -> list[Joined]:
    """Those of all that no other is as good as in both figures; of equal ones the first."""
    if any(r.latency_ms <= run.latency_ms and r.cost <= run.cost for r in runs):
        return list(runs)
    worse = [r for r in runs if run.latency_ms <= r.latency_ms and run.cost <= r.cost]
    return [*(r for r in runs if r not in worse), run]
