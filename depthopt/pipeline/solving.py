"""What ``solve`` takes of a recipe's ``solver``."""

from typing import Any

from depthopt.pipeline.sections import SolverSection
from depthopt.solver.stages import Bucketed, Epsilon


def solving(section: SolverSection) -> dict[str, Any]:
    """The arguments of ``solve`` that a recipe sets otherwise than they are."""
    given: dict[str, Any] = {}
    if section.mode == "bucketed":
        given["mode"] = Bucketed(section.resolution_ms or 0.0)
    elif section.mode == "epsilon":
        given["mode"] = Epsilon(section.epsilon or 0.0)
    defaults = SolverSection()
    for key in ("objective", "alpha", "inner_merges"):
        if (value := getattr(section, key)) != getattr(defaults, key):
            given[key] = value
    return given
