"""Strengths of regularisation to try on held-out images."""

from collections.abc import Iterable

from depthopt.core.numbers import Positive, require
from depthopt.errors import UsageError

FIT_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""Strengths for a new convolution, pulled to 0, relative to its inputs' mean variance."""

COMPENSATION_RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Strengths for a kept convolution, pulled to its weights, relative to its inputs' variance."""


def checked_ridges(ridges: Iterable[float]) -> tuple[float, ...]:
    """Check strengths, and return them.

    Raises:
        UsageError: there is none, or one is not a positive number.
    """
    found = tuple(require(Positive, "a ridge", ridge) for ridge in ridges)
    if not found:
        raise UsageError("ridges is empty; give one regularisation or more")
    return found
