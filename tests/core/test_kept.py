"""Batches that are held in memory where they fit."""

from collections.abc import Collection, Iterator

import pytest

from depthopt.core.kept import Kept


class Counted(Collection):
    """Batches 3, 4, 5, and how often they were made."""

    def __init__(self) -> None:
        self.passes = 0

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        return iter((3, 4, 5))

    def __contains__(self, batch: object) -> bool:
        return batch in (3, 4, 5)


@pytest.mark.parametrize(("most", "passes"), [(12, 1), (11, 3)])
def test_they_are_made_once_where_they_fit(most: int, passes: int) -> None:
    batches = Counted()
    kept = Kept(batches, int, most_bytes=most)
    assert [list(kept) for _ in range(3)] == [[3, 4, 5]] * 3
    assert (len(kept), batches.passes) == (3, passes)
    assert 4 in kept
    assert 6 not in kept


def test_a_pass_that_ends_early_keeps_nothing() -> None:
    batches = Counted()
    kept = Kept(batches, int)
    assert next(iter(kept)) == 3
    assert list(kept) == [3, 4, 5]
    assert list(kept) == [3, 4, 5]
    assert batches.passes == 2
