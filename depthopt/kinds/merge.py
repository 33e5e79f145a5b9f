"""``merge``: some of a segment's convolutions composed into one, the others identities."""

from collections.abc import Sequence

from depthopt.core.candidate import Candidate
from depthopt.errors import UsageError

_NOTHING = "none"


def detail_of(composed: Sequence[int]) -> str:
    """The ``Candidate.detail`` of a merge that composes the convolutions of these blocks."""
    return ",".join(map(str, composed)) or _NOTHING


def composed_blocks(candidate: Candidate) -> tuple[int, ...]:
    """The blocks whose convolutions a candidate of kind ``merge`` composes; none of any other.

    Raises:
        UsageError: its detail is not a list of blocks.
    """
    if candidate.kind != "merge" or candidate.detail == _NOTHING:
        return ()
    try:
        return tuple(map(int, candidate.detail.split(",")))
    except ValueError:
        raise UsageError(f"{candidate} does not say which blocks it composes") from None
