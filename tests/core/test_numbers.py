import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from depthopt.core import limits, numbers
from depthopt.errors import UsageError

KINDS = {name: kind for name, kind in vars(numbers).items() if hasattr(kind, "__metadata__")}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("value", [True, False, math.nan, math.inf, -math.inf, None, [], "x"])
def test_no_kind_takes_booleans_nor_what_is_not_finite(name: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(KINDS[name]).validate_python(value)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_takes_some_number(name: str) -> None:
    assert any(_is(KINDS[name], value) for value in (1, 0.5))


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        (numbers.Positive, (1e-300, 3), (0, -1)),
        (numbers.NonNegative, (0, 3), (-1e-9,)),
        (numbers.Share, (0, 0.5, 1), (-0.1, 1.1)),
        (numbers.ShareBelowOne, (0, 0.9), (1,)),
        (numbers.ShareAboveZero, (0.1, 1), (0,)),
        (numbers.ShareBetween, (0.5,), (0, 1)),
        (numbers.Count, (1, limits.COUNT), (0, -1, 1.5, limits.COUNT + 1, 10**400)),
        (numbers.Seed, (0, 2**63 - 1), (-1, 2**63)),
        (numbers.Seconds, (0.1,), (0, 1e300)),
        (numbers.Milliseconds, (0, 0.1), (-1, 1e300)),
        (numbers.Batch, (1,), (0, limits.BATCH + 1)),
    ],
)
def test_kinds_have_their_bounds(kind: Any, taken: tuple[Any], refused: tuple[Any]) -> None:
    assert all(_is(kind, value) for value in taken)
    assert not any(_is(kind, value) for value in refused)


def _is(kind: Any, value: Any) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def test_what_is_required_is_told_by_its_name() -> None:
    assert numbers.require(numbers.Count, "batch", 3) == 3
    with pytest.raises(UsageError, match=r"^batch is 0: Input should be greater than 0$"):
        numbers.require(numbers.Count, "batch", 0)
    with pytest.raises(UsageError, match=r"^seed is a number of thousands of digits: "):
        numbers.require(numbers.Seed, "seed", 10**5000)


@pytest.mark.parametrize("text", ["", "²", "٣", "-1", "1.5", "1_0", "0x1", "9" * 5000, "1e3"])
def test_what_is_no_whole_number_is_none(text: str) -> None:
    assert numbers.whole(text) is None


def test_whole_numbers_and_decimals_are_read_from_texts() -> None:
    assert numbers.whole(" 12 ") == 12
    assert numbers.decimal("5e-4") == 5e-4
    for text in ("nan", "inf", "1e309", "x"):
        with pytest.raises(ValueError, match=r"number|float"):
            numbers.decimal(text)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("3%", 0.03),
        (" 3 % ", 0.03),
        ("0.03", 0.03),
        ("0", 0),
        ("0%", 0),
        ("90%", 0.9),
        ("150%", 1.5),
    ],
)
def test_a_share_is_read_with_or_without_percent(text: str, share: float) -> None:
    assert numbers.fraction(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["3", "1", "-1%", "-0.1", "nan", "nan%", "inf", "much", "", "%"])
def test_what_is_no_share_or_may_be_either_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a share; write for instance 5% or 0\.05"):
        numbers.fraction(text)
