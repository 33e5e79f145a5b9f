"""The solver's options as arrays, and the grid on which sums are exact."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthopt.errors import TableError, UsageError
from depthopt.solver.kernels import Floats, Ints, Ways, least_from_start, least_to_end


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """Ways from one node to a later one. A plan is a run of them from 0 to the last node.

    A node is a position of a chain, or a position under one end condition: whatever
    decides which options may follow.

    Attributes:
        nodes: number of nodes.
        start: (options,) node before.
        end: (options,) node after; greater than ``start``.
        latency_ms: (options,) milliseconds, 0 or more.
        cost: (options,) what is added up and minimised; may be negative.
        touched: (options,) blocks changed; of equal plans the one with fewest is chosen.
    """

    nodes: int
    start: Ints
    end: Ints
    latency_ms: Floats
    cost: Floats
    touched: Ints

    @classmethod
    def of(
        cls,
        nodes: int,
        *,
        start: npt.ArrayLike,
        end: npt.ArrayLike,
        latency_ms: npt.ArrayLike,
        cost: npt.ArrayLike,
        touched: npt.ArrayLike | None = None,
    ) -> "Options":
        """Check the arrays, and convert them.

        Raises:
            TableError: NaN, an infinite entry, or a negative latency.
            UsageError: arrays of unlike length, an empty chain, options that run
                backwards, or a last node that cannot be reached.
        """
        begin, stop = np.asarray(start, np.int64), np.asarray(end, np.int64)
        options = cls(
            nodes,
            begin,
            stop,
            np.asarray(latency_ms, np.float64),
            np.asarray(cost, np.float64),
            np.zeros(begin.size, np.int64) if touched is None else np.asarray(touched, np.int64),
        )
        _check(options)
        return options

    def __len__(self) -> int:
        return self.start.size

    def ways(self, order: Ints, latency: Floats, cost: Floats) -> Ways:
        """The options at ``order``, which must be sorted by end, for the kernels.

        ``latency`` and ``cost`` (options,) stand in for the options' own.
        """
        end = self.end[order]
        return Ways(
            np.searchsorted(end, np.arange(self.nodes + 1)),
            self.start[order],
            end,
            latency[order],
            cost[order],
            self.touched[order],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """A frontier as arrays.

    Attributes:
        latency_ms: (points,) rising strictly.
        cost: (points,) falling strictly.
        offsets: (points + 1,) where each point's choices lie.
        choices: indices of options, in the chain's order, one point after another.
    """

    latency_ms: Floats
    cost: Floats
    offsets: Ints
    choices: Ints

    def __len__(self) -> int:
        return self.latency_ms.size


def exact_step(*arrays: Floats) -> float:
    """A power of two for rounding, such that sums of its multiples are exact.

    It is at most 2**-50 of the sum of all absolute values.
    """
    total = float(sum(np.abs(array).sum() for array in arrays))
    return max(2.0 ** (int(np.frexp(total)[1]) - 51), float(np.finfo(np.float64).tiny))


def _check(options: Options) -> None:
    sizes = {
        array.shape
        for array in (
            options.start, options.end, options.latency_ms, options.cost, options.touched
        )
    }  # fmt: skip
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        raise UsageError(f"options need five one-dimensional arrays of one length; got {sizes}")
    if options.nodes < 2:
        raise UsageError("the chain is empty: there is nothing to solve; give it a block")
    for name, array in (("latency", options.latency_ms), ("cost", options.cost)):
        wrong = ~np.isfinite(array) | ((array < 0) if name == "latency" else False)
        if wrong.any():
            k = int(np.flatnonzero(wrong)[0])
            expected = "a finite number, 0 or more" if name == "latency" else "a finite number"
            raise TableError(
                f"{name} of option {k} from {options.start[k]} to {options.end[k]} is {array[k]}, "
                f"expected {expected}; measure it again"
            )
    wrong = (options.start < 0) | (options.end <= options.start) | (options.end >= options.nodes)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise UsageError(
            f"option {k} runs from {options.start[k]} to {options.end[k]}; expected "
            f"0 <= start < end < {options.nodes}"
        )
    _check_reachable(options)


def _check_reachable(options: Options) -> None:
    order = np.argsort(options.end, kind="stable")
    nothing = np.zeros(len(options))
    ways = options.ways(order, nothing, nothing)
    reached = np.isfinite(least_from_start(ways, nothing))
    if reached[-1]:
        return
    covered = np.zeros(options.nodes - 1, np.bool_)
    for start, end in zip(options.start, options.end, strict=True):
        covered[start:end] = True
    if not covered.all():
        raise UsageError(
            f"no plan exists: nothing covers block {int(np.argmin(covered))}; "
            "add its `keep` candidate or loosen the constraints"
        )
    leaving = np.isfinite(least_to_end(ways, nothing))
    raise UsageError(
        f"no plan exists: candidates lead from the start to position "
        f"{int(np.flatnonzero(reached)[-1])}, but to the end only from position "
        f"{int(np.flatnonzero(leaving)[0])}; add `keep` candidates or loosen the constraints"
    )
