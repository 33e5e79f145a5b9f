"""Frozen dataclasses to JSON files and back: atomic, versioned, readable in a diff."""

import json
import os
import re
import secrets
from collections.abc import Container
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from depthopt.core import digests
from depthopt.core.old_words import read_artefact
from depthopt.core.version_1 import upgraded
from depthopt.core.writing import naming_its_file
from depthopt.errors import ArtefactError, CheckFailed

T = TypeVar("T")

SCHEMA_VERSION = 2
"""Raised when a change makes older readers misread a file."""

_MADE_FROM = "made_from"

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}", re.DOTALL)
"""Names of files that ``write_bytes`` has not finished."""


@naming_its_file
def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either all of it or what it held before.

    Raises:
        WriteFailed: the system refuses; the message names ``path`` and what to do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's, which nobody but their owner may read, wherever they are moved to.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_left_overs(folder: Path) -> None:
    """Remove from a folder what ``write_bytes`` leaves of a process that is killed in it.

    Args:
        folder: that nobody else writes into now; it need not exist.
    """
    for path in folder.glob(".*.*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


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
    digest = digests.of_json(json.loads(_lines(head | body)))
    write_bytes(path, (_lines(head | {digests.KEY: digest} | body) + "\n").encode())


def to_json(value: object) -> str:
    """What ``save_json`` writes, less the digest and the last line break: for other programs.

    Raises:
        CheckFailed: a number is NaN or infinite, which JSON knows no word for.
    """
    return _lines(_head(value) | to_plain(value))


def _head(value: object) -> dict[str, Any]:
    return {"type": type(value).__name__, "schema_version": SCHEMA_VERSION}


def to_plain(value: object) -> dict[str, Any]:
    """A dataclass of this package as what JSON knows: its fields by name."""
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
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is not whole JSON ({error}); make it anew") from None
    changed = _changed(content, path)
    found = content.pop("type", None) if isinstance(content, dict) else None
    if found != kind.__name__:
        raise ArtefactError(f"{path} holds {found or 'no artefact'}, expected {kind.__name__}")
    version = content.pop("schema_version", None)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ArtefactError(
            f"{path} has schema version {version}, this depthopt reads up to {SCHEMA_VERSION}; "
            "upgrade depthopt"
        )
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
    if made_from is not None and own not in made_from and (own, changed) != (None, None):
        raise ArtefactError(f"{path} is not of this run, or was made from something else")
    return value


def _changed(content: Any, path: Path) -> str | None:
    """What to say of JSON that was changed after it was written, less its digest from now on.

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


def _explain(error: ValidationError) -> str:
    """One line on the first mistake; text that is no value's says so itself."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


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
