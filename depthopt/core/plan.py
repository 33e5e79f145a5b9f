"""A choice of candidates that covers a chain, and the frontier of all good ones."""

from dataclasses import dataclass

from depthopt.core import numbers
from depthopt.core.candidate import Candidate, replacing
from depthopt.core.counted import counted
from depthopt.core.inputs import InputSize
from depthopt.errors import InfeasibleBudget, UsageError


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """Consecutive candidates that cover a chain from its first block to its last.

    Attributes:
        model: the chain's model name.
        input_size: (channels, height, width) of the network's image, or its named inputs.
        choices: one candidate per segment, in order, without gaps.
        latency_ms: predicted end-to-end latency.
        original_ms: the original network's measured end-to-end latency.
        cost: sum of importance costs. Where several choices together realise one merge,
            with no activation between them, that merge's cost counts once.
    """

    model: str
    input_size: InputSize
    choices: tuple[Candidate, ...]
    latency_ms: numbers.PositiveMilliseconds
    original_ms: numbers.PositiveMilliseconds
    cost: numbers.Finite

    def __repr__(self) -> str:
        return f"Plan of {self.model}: {self.words}"

    @property
    def words(self) -> str:
        """The predicted speed-up, and how much is replaced, as text."""
        gone = sum(choice.end - choice.start for choice in self.replaced)
        of = counted(sum(choice.end - choice.start for choice in self.choices), "block")
        return f"{self.speedup:.2f}x predicted, {gone} of {of} replaced"

    @property
    def speedup(self) -> float:
        """Predicted speed-up over the original network."""
        return self.original_ms / self.latency_ms

    @property
    def replaced(self) -> tuple[Candidate, ...]:
        """The choices that change something."""
        return replacing(self.choices)


@dataclass(frozen=True, slots=True, repr=False)
class FrontierPoint:
    """One Pareto-optimal plan, as indices into the frontier's candidates."""

    latency_ms: numbers.PositiveMilliseconds
    cost: numbers.Finite
    choices: tuple[int, ...]

    def __repr__(self) -> str:
        choices = counted(len(self.choices), "choice")
        return f"FrontierPoint: {self.latency_ms:.4g} ms, cost {self.cost:.4g}, {choices}"


@dataclass(frozen=True, slots=True, repr=False)
class Frontier:
    """Every Pareto-optimal trade of latency against importance cost.

    Attributes:
        model: the chain's model name.
        input_size: (channels, height, width) of the network's image, or its named inputs.
        original_ms: the original network's measured end-to-end latency.
        candidates: what the points' indices refer to.
        points: fastest first; latency rises strictly, cost falls strictly.
    """

    model: str
    input_size: InputSize
    original_ms: numbers.PositiveMilliseconds
    candidates: tuple[Candidate, ...]
    points: tuple[FrontierPoint, ...]

    def __post_init__(self) -> None:
        """Check that there are plans, and that they are of the candidates.

        Raises:
            ValueError: they are not; a file was changed.
        """
        if not self.points:
            raise ValueError("a frontier has no plan")
        last = len(self.candidates)
        for point in self.points:
            if not point.choices or not 0 <= min(point.choices) <= max(point.choices) < last:
                raise ValueError(f"a plan's choices are not among the {last} candidates")

    def __repr__(self) -> str:
        fastest, slowest = self.points[0], self.points[-1]
        speedups = [f"{self.original_ms / point.latency_ms:.2f}x" for point in (slowest, fastest)]
        return (
            f"Frontier of {self.model}: {counted(len(self.points), 'plan')}, "
            f"{' to '.join(speedups)} predicted, cost {slowest.cost:.4g} to {fastest.cost:.4g}"
        )

    def plan(self, index: int) -> Plan:
        """The plan at ``points[index]``."""
        point = self.points[index]
        return Plan(
            model=self.model,
            input_size=self.input_size,
            choices=tuple(self.candidates[i] for i in point.choices),
            latency_ms=point.latency_ms,
            original_ms=self.original_ms,
            cost=point.cost,
        )

    def pick(
        self,
        *,
        budget_ms: float | None = None,
        speedup: float | None = None,
        cost: float | None = None,
    ) -> Plan:
        """Pick the best plan for one wish: a budget, a speed-up or a cost.

        Args:
            budget_ms: least cost at no more than this end-to-end latency.
            speedup: least cost at this speed-up or more over the original.
            cost: least latency at no more than this importance cost.

        Raises:
            InfeasibleBudget: no plan is that fast, or that cheap.
            UsageError: not exactly one wish, or one that is not a positive number.
        """
        wishes = {"budget_ms": budget_ms, "speedup": speedup, "cost": cost}
        given = {name: value for name, value in wishes.items() if value is not None}
        if len(given) != 1:
            raise UsageError(f"pick takes exactly one of {', '.join(wishes)}; got {len(given)}")
        ((name, value),) = given.items()
        if not value >= 0 or (name == "speedup" and value == 0):
            raise UsageError(f"{name} must be a positive number, got {value}")
        if cost is not None:
            return self._fastest_within(cost)
        budget = budget_ms if budget_ms is not None else self.original_ms / value
        if self.points and self.original_ms <= budget:
            # A sum over all blocks is the original's latency to rounding, and may lie above it.
            best = self.plan(len(self.points) - 1)
            if not best.replaced:
                return best
        within = [i for i, point in enumerate(self.points) if point.latency_ms <= budget]
        if not within:
            fastest = self.points[0].latency_ms
            raise InfeasibleBudget(
                f"budget {budget:.4g} ms is below the fastest plan, {fastest:.4g} ms "
                f"({self.original_ms / fastest:.2f}x); raise the budget or add candidate kinds"
            )
        return self.plan(within[-1])

    def _fastest_within(self, cost: float) -> Plan:
        for i, point in enumerate(self.points):
            if point.cost <= cost:
                return self.plan(i)
        least = self.points[-1].cost
        raise InfeasibleBudget(
            f"cost {cost:.4g} is below the cheapest plan's, {least:.4g}; allow more"
        )
