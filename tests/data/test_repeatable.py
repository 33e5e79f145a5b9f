"""Batches gone through more than once."""

from depthopt.data.dataset import Repeated
from depthopt.data.repeatable import repeatable


def test_an_iterator_is_kept_and_what_can_be_repeated_is_not() -> None:
    spent = repeatable(iter([1, 2]))
    assert list(spent) == list(spent) == [1, 2]
    given = [1, 2]
    assert repeatable(given) is given
    passes = []

    def begin():
        passes.append(1)
        return iter([1, 2, 3])

    batches = repeatable(Repeated(begin, 2))
    assert passes == []
    assert list(batches) == list(batches) == [1, 2]
    assert (len(batches), len(passes)) == (2, 2)
