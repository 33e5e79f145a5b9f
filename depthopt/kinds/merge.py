"""``merge``: some of a segment's convolutions composed into one, the others identities."""

from collections.abc import Sequence

from depthopt.core.candidate import Candidate

_NOTHING = "none"


def detail_of(composed: Sequence[int]) -> str:
    """The ``Candidate.detail`` of a merge that composes the convolutions of these blocks."""
    return ",".join(map(str, composed)) or _NOTHING


def composed_blocks(candidate: Candidate) -> tuple[int, ...]:
    """The blocks whose convolutions a candidate of kind ``merge`` composes; none of any other."""
    if candidate.kind != "merge" or candidate.detail == _NOTHING:
        return ()
    return tuple(map(int, candidate.detail.split(",")))
