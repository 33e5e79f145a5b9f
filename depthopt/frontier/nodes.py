"""The solver's nodes: a chain's positions, each in the states that candidates begin or end in."""

from collections.abc import Sequence
from dataclasses import dataclass

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.errors import UsageError


@dataclass(frozen=True, slots=True)
class Nodes:
    """Numbers of (position, state), rising with the position.

    The network begins in state 0. All states of its last position are one node: nothing comes
    behind that could tell them apart.

    Attributes:
        blocks: of the chain.
        number: by position and state.
        count: of all.
    """

    blocks: int
    number: dict[tuple[int, int], int]
    count: int

    @classmethod
    def of(cls, chain: Chain, candidates: Sequence[Candidate]) -> "Nodes":
        """The nodes that are met, and state 0 of every position."""
        last = len(chain.blocks)
        found = {(position, 0) for position in range(last)}
        found |= {(c.start, c.entry) for c in candidates}
        found |= {(c.end, c.exit) for c in candidates if c.end < last}
        number = {node: i for i, node in enumerate(sorted(found))}
        return cls(last, number, len(number) + 1)

    def ends(self, candidate: Candidate) -> tuple[int, int]:
        """The nodes that a candidate leads from and to."""
        start = self.number[candidate.start, candidate.entry]
        if candidate.end == self.blocks:
            return start, self.count - 1
        return start, self.number[candidate.end, candidate.exit]

    def require_a_plan(self, start: Sequence[int], end: Sequence[int]) -> None:
        """Refuse candidates that agree nowhere on a state, in words of positions.

        Where there is one state only, ``Options`` says what is missing.

        Raises:
            UsageError: no run of them leads from the first node to the last.
        """
        if self.count == self.blocks + 1:
            return
        reached = {0}
        for begin, stop in sorted(zip(start, end, strict=True)):
            if begin in reached:
                reached.add(stop)
        if self.count - 1 in reached:
            return
        position, state = next(node for node, i in self.number.items() if i == max(reached))
        raise UsageError(
            f"no plan exists: from the start candidates lead up to position {position} in state "
            f"{state}, and none that begins so leads on; add `keep` candidates or loosen the "
            "constraints"
        )
