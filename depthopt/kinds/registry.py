"""All kinds of candidates, by name."""

from collections.abc import Sequence

from depthopt.core.candidate import Candidate
from depthopt.core.operators import Convolution
from depthopt.kinds.kind import Kind
from depthopt.plugins import Plugins

_OWN = ("keep", "drop", "fit", "merge", "narrow", "share")

KINDS = Plugins(
    "depthopt.kinds",
    "candidate kind",
    {name: f"depthopt.kinds.{name}:KIND" for name in _OWN},
)
"""Kinds of candidates by name: depthopt's own, and those of other packages."""


def kind_of(candidate: Candidate) -> Kind:
    """The kind of a candidate.

    Raises:
        UsageError: it is not known here.
    """
    kind: Kind = KINDS.get(candidate.kind)
    return kind


def is_part(candidate: Candidate) -> bool:
    """Whether a candidate only stands for a part of another. Such ones are not scored.

    Raises:
        UsageError: its kind is not known here.
    """
    return kind_of(candidate).is_part(candidate)


def composition(start: int, end: int, blocks: Sequence[int], convolution: Convolution) -> Candidate:
    """The candidate that composes the convolutions of some of a segment's blocks into one."""
    from depthopt.kinds.merge import KIND, detail_of  # noqa: PLC0415 - a kind is loaded when used

    return Candidate(start, end, KIND.name, (convolution,), None, detail_of(blocks))
