"""Write frozen dataclasses to JSON files and read them: versioned, with a digest."""

import json
from collections.abc import Container
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from depthopt.core import digests
from depthopt.core.clipped import clipped, one_line, shortened
from depthopt.core.old_words import read_artefact
from depthopt.core.reading import read_json
from depthopt.core.version_1 import upgraded
from depthopt.core.writing import write_text
from depthopt.errors import ArtefactError, CheckFailed

T = TypeVar("T")

SCHEMA_VERSION = 2
"""Schema version. It is raised when a change would make older readers misread a file."""

_MADE_FROM = "made_from"


def save_json(value: object, path: Path, *, made_from: str | None = None) -> None:
    """Write a dataclass of this package as JSON with its type, schema version and digest.

    Args:
        value: what to write.
        path: the file.
        made_from: a digest of what the value was worked out from, where ``load_json`` shall ask.

    Raises:
        CheckFailed: a number is NaN or infinite; nothing is written.
        WriteFailed: the system refuses.
    """
    head = _head(value) if made_from is None else _head(value) | {_MADE_FROM: made_from}
    body = to_plain(value)
    digest = digests.of_json(head | body)
    write_text(path, _lines(head | {digests.KEY: digest} | body) + "\n")


def to_json(value: object) -> str:
    """The JSON that ``save_json`` writes, without digest and last line break.

    Raises:
        CheckFailed: a number is NaN or infinite, which JSON knows no word for.
    """
    return _lines(_head(value) | to_plain(value))


def _head(value: object) -> dict[str, Any]:
    return {"type": type(value).__name__, "schema_version": SCHEMA_VERSION}


def to_plain(value: object) -> dict[str, Any]:
    """A dataclass of this package as values that JSON can hold: its fields by name."""
    plain: dict[str, Any] = TypeAdapter(type(value)).dump_python(value, mode="json")
    return plain


def load_json(kind: type[T], path: Path, *, made_from: Container[str] | None = None) -> T:
    """Read what ``save_json`` wrote.

    A file without a digest, of an earlier version or of another program, is read unchecked, and a
    line of the log says so.

    Args:
        kind: what the file shall hold.
        path: the file.
        made_from: what the value may have been worked out from; None does not ask.

    Raises:
        ArtefactError: the file is missing, cut short, changed after it was written, made from
            something else, of another type or a newer schema.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"{path} is not whole JSON ({one_line(error)}); make it again"
        ) from None
    changed = _changed(content, path)
    found = content.pop("type", None) if isinstance(content, dict) else None
    if found != kind.__name__:
        what = clipped(found).strip("'") if found else "no artefact"
        raise ArtefactError(f"{path} holds {what}, expected {kind.__name__}")
    version = content.pop("schema_version", None)
    if (wrong := why_unread(version)) is not None:
        raise ArtefactError(f"{path} {wrong}")
    own = content.pop(_MADE_FROM, None)
    try:
        content = read_artefact(found, upgraded(content) if version == 1 else content)
        value = TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise ArtefactError(f"{path}: {_explain(error)}{_also(changed)}") from None
    except ValueError as error:
        raise ArtefactError(f"{path}: {error}{_also(changed)}") from None
    if changed:
        raise ArtefactError(f"{path} {changed}")
    if changed is None:
        digests.tell_of_none(path)
    of_an_earlier_version = own is None and changed is None
    if made_from is not None and own not in made_from and not of_an_earlier_version:
        raise ArtefactError(f"{path} is not of this run, or was made from something else")
    return value


def _changed(content: Any, path: Path) -> str | None:
    """The message for JSON that was changed after it was written. The digest is taken out.

    Empty if it was not, and None if it says no digest.
    """
    if not isinstance(content, dict) or digests.KEY not in content:
        return None
    if content.pop(digests.KEY) == digests.of_json(content):
        return ""
    return (
        f'{digests.CHANGED}; make it again, or delete its line "{digests.KEY}" to have '
        f"{path.name} read as it is"
    )


def _also(changed: str | None) -> str:
    return f"; it {changed}" if changed else ""


def why_unread(version: object) -> str | None:
    """What is wrong with a file's schema version, as a message. None if it can be read."""
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
        return (
            f"has schema version {clipped(version)}, this depthopt reads up to {SCHEMA_VERSION}; "
            "upgrade depthopt"
        )
    if isinstance(version, bool) or version not in range(1, SCHEMA_VERSION + 1):
        return (
            f"has schema version {clipped(version)}, expected 1 to {SCHEMA_VERSION}; make it again"
        )
    return None


def _explain(error: ValidationError) -> str:
    """One line on the first mistake. Values parsed from text explain their own mistakes."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return one_line(first["ctx"]["error"])
    got = f" (got {first['input']})" if first["type"] == "finite_number" else ""
    return f"{shortened('.'.join(map(str, first['loc'])), 300)}: {first['msg']}{got}"


def _lines(body: dict[str, Any]) -> str:
    """JSON with one line per element of each top-level list or dictionary."""
    fields = []
    for name, value in body.items():
        try:
            fields.append(f"  {_text(name)}: {_field(value)}")
        except ValueError:
            raise CheckFailed(
                f"{name} of a {body['type']} is NaN or infinite, or holds such a number; nothing "
                "was written"
            ) from None
    return "{\n" + ",\n".join(fields) + "\n}"


def _field(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict | str):
        inner = ",\n".join(f"    {_text(element)}" for element in value)
        return f"[\n{inner}\n  ]"
    if isinstance(value, dict) and value:
        inner = ",\n".join(f"    {_text(k)}: {_text(v)}" for k, v in value.items())
        return f"{{\n{inner}\n  }}"
    return _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
