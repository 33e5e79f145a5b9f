"""Values that files hold as text: ``str`` writes them, ``parse`` reads them."""

from typing import Any, Protocol, Self

from pydantic_core import CoreSchema, core_schema


class Parsed(Protocol):
    """A class whose ``parse`` reads what ``str`` writes."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value that ``text`` describes. Raises ``ValueError`` if there is none."""
        ...


def text_schema(kind: type[Parsed]) -> CoreSchema:
    """The pydantic schema for a field of this class: text."""

    def read(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, str):
            raise ValueError(f"expected text, got {type(value).__name__}")  # noqa: TRY004 - pydantic's
        return kind.parse(value)

    return core_schema.no_info_plain_validator_function(
        read, serialization=core_schema.to_string_ser_schema(when_used="always")
    )
