"""The objective that a run's plans were solved for, and the candidates' costs by it."""

from collections.abc import Mapping
from typing import get_args

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.errors import DepthoptError
from depthopt.frontier.lookup import Objective, costs
from depthopt.report.reading import RunArtefacts


def objective_of(run: RunArtefacts) -> tuple[Objective, float]:
    """The recipe's objective and its alpha. The sum of costs if the recipe names none."""
    said, alpha = run.setting("solver", "objective"), run.setting("solver", "alpha")
    found: Objective = "cost"
    for objective in get_args(Objective):
        if objective == said:
            found = objective
    return found, alpha if isinstance(alpha, float) and found == "metric" else 0.0


def objective_text(run: RunArtefacts) -> str:
    """The objective in words, which tells two runs' costs apart."""
    objective, alpha = objective_of(run)
    return f"{objective}, alpha {alpha:g}" if alpha else objective


def own_costs(run: RunArtefacts) -> Mapping[Candidate, float]:
    """The cost of each scored candidate and kept block, by the run's objective.

    Empty where that cannot be told: a table without the changes that the objective is of.
    """
    if run.importance is None or run.chain is None:
        return {}
    listed = tuple(
        {**dict.fromkeys(run.importance.entries), **dict.fromkeys(kept_blocks(run.chain))}
    )
    objective, alpha = objective_of(run)
    try:
        found = costs(listed, run.importance, objective, alpha=alpha)
    except DepthoptError:
        return {}
    return dict(zip(listed, [cost + 0.0 for cost in found], strict=True))  # -0.0 is shown as 0


def original_cost(run: RunArtefacts) -> float:
    """The cost of the original. It is 0 unless kept blocks have entries."""
    if run.chain is None:
        return 0.0
    found = own_costs(run)
    return sum(found.get(block, 0.0) for block in kept_blocks(run.chain))
