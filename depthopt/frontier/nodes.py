"""The solver's nodes: a chain's positions, each in the states that candidates begin or end in."""

from collections.abc import Sequence
from dataclasses import dataclass

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.errors import UsageError
from depthopt.kinds.chained import LOOSE, TAILS, follows, tail

Node = tuple[int, int, int]
"""A position, a state, and how what comes before ends (``kinds.chained``)."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Numbers of (position, state, end of what comes before), rising with the position.

    The network begins in state 0. All states of its last position are one node: nothing comes
    behind that could tell them apart. Fits that are joined to what comes before them are told
    apart only where there are any.

    Attributes:
        chain: the network.
        number: by position, state and end.
        count: of all.
    """

    chain: Chain
    number: dict[Node, int]
    count: int

    @classmethod
    def of(cls, chain: Chain, candidates: Sequence[Candidate]) -> "Nodes":
        """The nodes of all candidates, and state 0 of every position."""
        last = len(chain.blocks)
        found = {(position, 0, LOOSE) for position in range(last)}
        found |= {(c.start, c.entry, LOOSE) for c in candidates}
        found |= {(c.end, c.exit, LOOSE) for c in candidates if c.end < last}
        linear = [(c, own) for c in candidates if (own := tail(chain, c))]
        ends = {(c.end, c.exit, end) for c, own in linear for end in (own, *follows(chain, c))}
        found |= ends & {(c.start, c.entry, end) for c in candidates for end in follows(chain, c)}
        number = {node: i for i, node in enumerate(sorted(found))}
        return cls(chain, number, len(number) + 1)

    def ends(self, candidate: Candidate) -> tuple[int, int]:
        """The nodes that a candidate leads from and to, without what comes before."""
        return self._at(candidate.start, candidate.entry), self._at(candidate.end, candidate.exit)

    def ways(self, run: Sequence[Candidate]) -> list[tuple[int, int]]:
        """The nodes that consecutive candidates lead from, each with the node they lead to.

        They may not begin where the first of them would be joined to what comes before: then it
        is part of a longer run.
        """
        first, last = run[0], run[-1]
        end = tail(self.chain, first) if tail(self.chain, last) else LOOSE
        stop = self.number.get((last.end, last.exit, end), self._at(last.end, last.exit))
        joined = follows(self.chain, first)
        return [
            (start, stop)
            for before in TAILS
            if before not in joined
            and (start := self.number.get((first.start, first.entry, before))) is not None
        ]

    def require_a_plan(self, start: Sequence[int], end: Sequence[int]) -> None:
        """Refuse candidates that do not make a plan, and name the position.

        Where there is one state only, ``Options`` says what is missing.

        Raises:
            UsageError: no run of them leads from the first node to the last.
        """
        if all(state == 0 for _, state, _ in self.number):
            return
        reached = {0}
        for begin, stop in sorted(zip(start, end, strict=True)):
            if begin in reached:
                reached.add(stop)
        if self.count - 1 in reached:
            return
        position, state, _ = next(node for node, i in self.number.items() if i == max(reached))
        raise UsageError(
            f"no plan exists: candidates lead from the start to position {position} in state "
            f"{state}, but none continues from there; add `keep` candidates or loosen the "
            "constraints"
        )

    def _at(self, position: int, state: int) -> int:
        """Where nothing is joined to what comes before; all states of the end are one."""
        return self.number.get((position, state, LOOSE), self.count - 1)
