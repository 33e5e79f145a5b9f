"""How similar a transformer's blocks are to one another."""

from dataclasses import dataclass
from itertools import combinations

from depthopt.core import numbers

SIMILARITIES = "similarity.json"
"""Name of the file in a run's folder."""


@dataclass(frozen=True, slots=True)
class Similarities:
    """The similarity of every two blocks' outputs (``depthopt.importance.similarity``).

    Attributes:
        model: the chain's model name.
        images: that they were told by.
        ends: position behind each block, rising.
        values: of every two, from 0 to 1, in the order of ``ends``.

    Raises:
        ValueError: there is not one number for every two blocks.
    """

    model: str
    images: numbers.Count
    ends: tuple[numbers.Position, ...]
    values: tuple[tuple[numbers.Share, ...], ...]

    def __post_init__(self) -> None:
        """Check the shape."""
        count = len(self.ends)
        if len(self.values) != count or any(len(row) != count for row in self.values):
            raise ValueError(f"there is not one similarity for every two of {count} blocks")

    def of(self, one: int, two: int) -> float:
        """The similarity of the tensors at two positions.

        Raises:
            ValueError: no block ends there.
        """
        return self.values[self.ends.index(one)][self.ends.index(two)]

    def least(self, ends: tuple[int, ...]) -> float:
        """The least similarity of two of some blocks, given by their ends."""
        return min(self.of(one, two) for one, two in combinations(ends, 2))

    def quantile(self, share: float) -> float:
        """The similarity that this share of all pairs of blocks does not exceed."""
        every = sorted(self.of(one, two) for one, two in combinations(self.ends, 2))
        return every[min(len(every) - 1, int(share * len(every)))]
