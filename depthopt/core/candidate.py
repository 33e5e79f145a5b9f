"""Candidates: what a segment may be replaced by."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import CoreSchema

from depthopt.core import limits, numbers
from depthopt.core.chain import Chain
from depthopt.core.clipped import clipped
from depthopt.core.operators import (
    Activation,
    Convolution,
    Linear,
    LowRank,
    Operator,
    parse_operator,
)
from depthopt.core.text import text_schema

KEPT = "keep"
"""The kind of a block as it is; candidates of every other kind replace blocks."""


@dataclass(frozen=True, slots=True, repr=False)
class Candidate:
    """One way to realise the segment ``[start, end)``.

    Attributes:
        start: first block of the segment.
        end: one past its last block.
        kind: ``keep`` the block; ``merge`` the kept convolutions by composing their
            weights; ``drop`` a skip's branch; ``fit`` one convolution on data.
        operators: what runs in place of the segment, in order; none where only a skip remains.
        activation: what follows them, or None.
        detail: what else the kind has to say, in its own canonical words.
        entry: the state that the segment begins in: 0 where an activation before it is, or is not,
            as in the original, 1 the other way. What it computes is the same for both.
        exit: the state that it ends in, likewise of the activation behind it, which ``activation``
            says. One that is inserted everywhere alike may be in state 0.
    """

    start: int
    end: int
    kind: str
    operators: tuple[Operator, ...]
    activation: Activation | None = None
    detail: str = ""
    entry: int = 0
    exit: int = 0

    @property
    def convolution(self) -> Convolution:
        """The candidate's only operator.

        Raises:
            ValueError: it is not one convolution.
        """
        match self.operators:
            case (Convolution() as only,):
                return only
        raise ValueError(f"{self} is not one convolution")

    @property
    def linear(self) -> Linear | LowRank | None:
        """The candidate's only operator, if that is linear in each token; else None."""
        match self.operators:
            case (Linear() | LowRank() as only,):
                return only
        return None

    @property
    def replaces(self) -> bool:
        """Whether it changes anything. A kept block does not, and costs nothing."""
        return self.kind != KEPT

    @property
    def key(self) -> str:
        """The canonical name, by which files hold a candidate."""
        where = f"{self.start}:{self.end}"
        if (self.entry, self.exit) != (0, 0):
            where = f"{self.start}.{self.entry}:{self.end}.{self.exit}"
        parts = [self.kind, where, " + ".join(map(str, self.operators)) or "identity"]
        if self.activation is not None:
            parts.append(str(self.activation))
        if self.detail:
            parts.append(f"of {self.detail}")
        return " ".join(parts)

    def __str__(self) -> str:
        """Its key."""
        return self.key

    def __repr__(self) -> str:
        return f"Candidate {self.key!r}"

    @classmethod
    def parse(cls, text: str) -> "Candidate":
        """The candidate with this ``key``. Its kind need not be known.

        Raises:
            ValueError: there is none.
        """
        found = _KEY.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{clipped(text)} is not a candidate, such as 'drop 3:5 identity relu'"
            )
        part = found.groupdict()
        if not int(part["start"]) < int(part["end"]) <= limits.POSITION:
            raise ValueError(
                f"{clipped(text)} does not cover a segment: it ends where it begins, or before"
            )
        what, activation = part["operators"], part["activation"]
        return cls(
            int(part["start"]),
            int(part["end"]),
            part["kind"],
            () if what == "identity" else tuple(map(parse_operator, what.split(" + "))),
            None if activation is None else Activation.parse(activation),
            "none" if part["detail"] == "" else part["detail"] or "",
            int(part["entry"] or 0),
            int(part["exit"] or 0),
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


_N = numbers.DIGITS
_PART = r"[a-z]?-?[0-9][-0-9x.,]*(:[a-z]\S*)?"
_OPERATOR = rf"([a-z]\w* )?{_PART}( {_PART})*"
_KEY = re.compile(
    rf"(?P<kind>[a-z][\w-]*) (?P<start>{_N})(\.(?P<entry>{_N}))?:(?P<end>{_N})(\.(?P<exit>{_N}))? "
    rf"(?P<operators>identity(?! [0-9])|{_OPERATOR}( \+ {_OPERATOR})*)"
    r"( (?!of(?: |$))(?P<activation>[a-z]\S*))?( of (?P<detail>.*))?"
)


def kept_blocks(chain: Chain) -> tuple[Candidate, ...]:
    """A candidate for every block that keeps it as it is."""
    return tuple(
        Candidate(i, i + 1, KEPT, (block.operator,), block.activation)
        for i, block in enumerate(chain.blocks)
    )


def replacing(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that change something."""
    return tuple(candidate for candidate in candidates if candidate.replaces)
