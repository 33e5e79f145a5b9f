"""The kinds of numbers that users and files may give, in one place.

Each is a type for pydantic, so that recipes, dataclasses and files are read by it, and ``require``
checks a value by it in Python and for options of commands. None of them is ever a boolean, NaN or
infinite.
"""

import math
import re
from functools import cache
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AllowInfNan, BeforeValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from depthopt.core import limits
from depthopt.core.clipped import clipped
from depthopt.errors import UsageError

T = TypeVar("T")


def _no_boolean(value: Any) -> Any:
    """Refuse what pydantic would take for 0 or 1."""
    if type(value).__name__ in {"bool", "bool_"}:  # NumPy's too
        raise PydanticCustomError("boolean", "Input should be a number, not a boolean")
    return value


Finite = Annotated[float, BeforeValidator(_no_boolean), AllowInfNan(False)]
"""Any number but NaN and the infinite ones."""

Positive = Annotated[Finite, Gt(0)]
NonNegative = Annotated[Finite, Ge(0)]

Share = Annotated[Finite, Ge(0), Le(1)]
"""0 to 1."""

ShareBelowOne = Annotated[Finite, Ge(0), Lt(1)]
ShareAboveZero = Annotated[Finite, Gt(0), Le(1)]
ShareBetween = Annotated[Finite, Gt(0), Lt(1)]

Milliseconds = Annotated[Finite, Ge(0), Le(limits.MILLISECONDS)]
"""A measured latency. 0 if it could not be told from nothing."""

PositiveMilliseconds = Annotated[Finite, Gt(0), Le(limits.MILLISECONDS)]
Seconds = Annotated[Finite, Gt(0), Le(limits.SECONDS)]
SecondsOrZero = Annotated[Finite, Ge(0), Le(limits.SECONDS)]

Whole = Annotated[int, BeforeValidator(_no_boolean)]
"""Any whole number."""

Count = Annotated[Whole, Gt(0), Le(limits.COUNT)]
"""At least one."""

CountOrZero = Annotated[Whole, Ge(0), Le(limits.COUNT)]
"""Zero or more."""

Batch = Annotated[Whole, Gt(0), Le(limits.BATCH)]
Threads = Annotated[Whole, Gt(0), Le(limits.THREADS)]
ThreadsOrZero = Annotated[Whole, Ge(0), Le(limits.THREADS)]
Size = Annotated[Whole, Gt(0), Le(limits.SIZE)]
Position = Annotated[Whole, Ge(0), Le(limits.POSITION)]
Bytes = Annotated[Whole, Ge(0), Le(limits.BYTES)]

Parameters = Bytes
"""How many weights a network has, which is bounded by what memory could hold."""

Seed = Annotated[Whole, Ge(0), Le(limits.SEED)]

NATURAL = rf"[1-9][0-9]{{0,{limits.DIGITS - 1}}}"
"""Pattern of a whole number above 0 inside a text."""

DIGITS = rf"[0-9]{{1,{limits.DIGITS}}}"
"""Pattern of a whole number of 0 or more inside a text."""

DECIMAL = r"[0-9]{1,30}(?:\.[0-9]{1,30})?(?:e[+-]?[0-9]{1,3})?"
"""Pattern of a number of 0 or more inside a text."""


def require(kind: Any, name: str, value: T) -> T:
    """Check that a value is of a kind, and return it.

    Args:
        kind: one of this module's types.
        name: what the value is called in the message.
        value: to check.

    Raises:
        UsageError: it is not.
    """
    try:
        found: T = _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise UsageError(f"{name} is {clipped(value)}: {error.errors()[0]['msg']}") from None
    return found


def whole(text: str) -> int | None:
    """The whole number of 0 or more in a text. None if it is not one, or is too long."""
    return int(text) if re.fullmatch(DIGITS, text.strip()) else None


def decimal(text: str) -> float:
    """The finite number in a text.

    Raises:
        ValueError: it is not a number.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def fraction(text: str) -> float:
    """The share in a text, such as ``3%`` or ``0.03``. With ``%`` it may be above 1.

    Raises:
        ValueError: it is not a share. Without ``%``, 1 or more is refused: ``3`` could be 3 %.
    """
    number, percent = text.strip().removesuffix("%").strip(), text.strip().endswith("%")
    try:
        value = decimal(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < (10 if percent else 1):
        raise ValueError(f"{clipped(text)} is not a share; write for instance 5% or 0.05")
    return value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
