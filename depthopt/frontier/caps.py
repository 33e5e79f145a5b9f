"""Limits on a plan besides its latency and cost."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.errors import InfeasibleBudget, UsageError
from depthopt.frontier.joined import Joined, joined_ms
from depthopt.frontier.lookup import latencies
from depthopt.kinds.latency_keys import parameters
from depthopt.solver.kernels import Floats
from depthopt.tables.latency import LatencyTable


@dataclass(frozen=True, slots=True)
class LatencyCap:
    """A budget for the whole latency on another device, runtime or batch.

    A plan's latency there is taken with the factor of the largest footprint, which keeps the
    budget: others are faster.
    """

    table: LatencyTable
    budget_ms: float

    def __post_init__(self) -> None:
        _check("budget_ms", self.budget_ms)


@dataclass(frozen=True, slots=True)
class ParameterCap:
    """A limit on the weights and biases of the chain's convolutions, with projections."""

    most: int

    def __post_init__(self) -> None:
        _check("most parameters", self.most)


@dataclass(frozen=True, slots=True)
class MemoryCap:
    """A limit on the activations that are alive while any one candidate runs.

    Counted per image: the candidate's input and output, and the tensors that skips
    across it hold. What a runtime adds for workspaces or saves by reuse is not known.

    Attributes:
        most_bytes: the limit.
        bytes_per_element: 4 for float32.
    """

    most_bytes: int
    bytes_per_element: int = 4

    def __post_init__(self) -> None:
        _check("most_bytes", self.most_bytes)


Cap = LatencyCap | ParameterCap | MemoryCap


def allowed(
    chain: Chain,
    candidates: Sequence[Candidate],
    keep: Collection[str] = (),
    replace: Collection[str] = (),
    caps: Sequence[Cap] = (),
) -> list[int]:
    """Indices of the candidates that no single constraint rules out.

    Raises:
        UsageError: a name that is not a block's, or one that must both stay and go.
    """
    place = {block.name: i for i, block in enumerate(chain.blocks)}
    for name in (*keep, *replace):
        if name not in place:
            raise UsageError(
                f"{chain.model} has no block {name!r}; `depthopt extract` lists its blocks"
            )
    if both := set(keep) & set(replace):
        raise UsageError(f"block {min(both)!r} is in both keep and replace; take it from one")
    kept, replaced = {place[name] for name in keep}, {place[name] for name in replace}
    limits = [cap for cap in caps if isinstance(cap, MemoryCap)]
    return [
        k
        for k, c in enumerate(candidates)
        if not (kept if c.replaces else replaced).intersection(range(c.start, c.end))
        and all(cap.bytes_per_element * live_elements(chain, c) <= cap.most_bytes for cap in limits)
    ]


def amounts(
    chain: Chain, candidates: Sequence[Candidate], runs: Sequence[Joined], caps: Sequence[Cap]
) -> tuple[Floats, Floats]:
    """What each candidate uses of every resource with a capped sum, and the caps.

    Returns:
        used: (candidates and, behind them, joined fits; resources).
        most: (resources,).

    Raises:
        InfeasibleBudget: the part of a network that no candidate touches is over a cap.
    """
    used, most = [np.empty((0, len(candidates) + len(runs)))], []
    for cap in caps:
        if isinstance(cap, LatencyCap):
            network = cap.table.network(chain)
            largest = network.footprints[-1].factor if network.footprints else 1.0
            left = cap.budget_ms / largest - network.fixed_ms
            if left < 0:
                raise InfeasibleBudget(
                    f"budget {cap.budget_ms:.4g} ms on {cap.table.conditions.device} is below the "
                    f"network's fixed part, {largest * network.fixed_ms:.4g} ms; raise the budget"
                )
            ms = latencies(chain, candidates, cap.table)
            used.append(np.array([ms + [joined_ms(chain, run, ms, cap.table) for run in runs]]))
            most.append(left)
        elif isinstance(cap, ParameterCap):
            listed = (*candidates, *(run.one for run in runs))
            used.append(np.array([[parameters(chain, c) for c in listed]], np.float64))
            most.append(float(cap.most))
    return np.concatenate(used).T, np.array(most)


def live_elements(chain: Chain, candidate: Candidate) -> int:
    """Elements per image that are alive while ``candidate`` runs: input, output and skips."""
    first, ending = chain.blocks[candidate.start], chain.ending(candidate.start, candidate.end)
    held = {
        skip.source
        for skip in chain.skips
        if skip.source < candidate.start and skip.target >= candidate.end
    }
    tensors = [chain.blocks[source] for source in sorted(held)] + [first]
    inputs = sum(b.layout.in_channels * math.prod(b.layout.input_size) for b in tensors)
    return inputs + ending.channels * math.prod(ending.size)


def _check(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} must be above 0, got {value}")
