"""Metrics: the number that says how good a network is, with name, unit and direction."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a network on examples with targets.

    Attributes:
        name: such as ``accuracy``.
        unit: behind its figures, such as ``%``; empty for a bare number.
        scale: what a perfect example, or one of error 1, counts: 100 for a share in points of 100.
        higher_is_better: whether more of it is better.
    """

    name: str
    unit: str = ""
    scale: float = 1.0
    higher_is_better: bool = True

    @property
    def label(self) -> str:
        """The name with its unit, as a column heading."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    def gain(self, before: float, after: float) -> float:
        """The improvement from one value to another. Negative if it got worse."""
        return after - before if self.higher_is_better else before - after

    def reached(self, value: float, target: float) -> bool:
        """Whether a value is as good as a target."""
        return self.gain(target, value) >= 0

    def noise(self, value: float, examples: int) -> float:
        """The standard error of a share of this many examples. 0 for other metrics."""
        share = value / self.scale
        if self.unit != "%" or not 0 <= share <= 1:
            return 0.0
        return float(self.scale * (share * (1 - share) / examples) ** 0.5)

    def figure(self, value: float, digits: int = 2) -> str:
        """A value as text: percentages to this many digits, others to four significant ones."""
        return f"{value:.{digits}f}" if self.unit == "%" else f"{value:.4g}"

    def text(self, value: float, digits: int = 2) -> str:
        """A value with its unit, such as ``98.00 %``."""
        return f"{self.figure(value, digits)} {self.unit}".rstrip()
