"""Solutions as the tests read them."""

from depthopt.solver.kernels import Ints
from depthopt.solver.options import Solution


def choices_of(solution: Solution, point: int) -> Ints:
    """The options that make up one point."""
    return solution.choices[solution.offsets[point] : solution.offsets[point + 1]]
