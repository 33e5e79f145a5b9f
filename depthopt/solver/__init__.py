"""The exact frontier of latency against importance, by a two-stage dynamic programme."""

from depthopt.solver.capped import solve_capped
from depthopt.solver.constraints import Cap, LatencyCap, MemoryCap, ParameterCap
from depthopt.solver.joins import Objective
from depthopt.solver.options import Options, Solution
from depthopt.solver.pieces import Pieces, Runs, fastest_runs
from depthopt.solver.solve import solve
from depthopt.solver.stages import Bucketed, Epsilon, Exact, Mode, solve_options

__all__ = [
    "Bucketed",
    "Cap",
    "Epsilon",
    "Exact",
    "LatencyCap",
    "MemoryCap",
    "Mode",
    "Objective",
    "Options",
    "ParameterCap",
    "Pieces",
    "Runs",
    "Solution",
    "fastest_runs",
    "solve",
    "solve_capped",
    "solve_options",
]
