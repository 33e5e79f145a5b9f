"""Frozen dataclasses to JSON files and back: atomic, versioned, readable in a diff."""

import json
import os
import secrets
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from depthopt.core.clipped import clipped, one_line, printable, shortened
from depthopt.core.old_words import read_artefact
from depthopt.core.reading import read_json
from depthopt.core.version_1 import upgraded
from depthopt.errors import ArtefactError, UsageError

T = TypeVar("T")

SCHEMA_VERSION = 2
"""Raised when a change makes older readers misread a file."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either all of it or what it held before."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
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


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, as ``write_bytes`` does."""
    write_bytes(path, printable(text).encode())


def save_json(value: object, path: Path) -> None:
    """Write a dataclass of this package as JSON with its type and schema version."""
    write_bytes(path, (to_json(value) + "\n").encode())


def to_json(value: object) -> str:
    """What ``save_json`` writes, less the last line break."""
    head = {"type": type(value).__name__, "schema_version": SCHEMA_VERSION}
    return _lines(head | to_plain(value))


def to_plain(value: object) -> dict[str, Any]:
    """A dataclass of this package as what JSON knows: its fields by name."""
    plain: dict[str, Any] = TypeAdapter(type(value)).dump_python(value, mode="json")
    return plain


def load_json(kind: type[T], path: Path) -> T:
    """Read what ``save_json`` wrote.

    Raises:
        ArtefactError: the file is missing, cut short, of another type or a newer schema.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is not whole JSON ({one_line(error)}); make it anew") from None
    found = content.pop("type", None) if isinstance(content, dict) else None
    if found != kind.__name__:
        what = clipped(found).strip("'") if found else "no artefact"
        raise ArtefactError(f"{path} holds {what}, expected {kind.__name__}")
    version = content.pop("schema_version", None)
    if (wrong := why_unread(version)) is not None:
        raise ArtefactError(f"{path} {wrong}")
    try:
        content = read_artefact(found, upgraded(content) if version == 1 else content)
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise ArtefactError(f"{path}: {_explain(error)}") from None
    except ValueError as error:
        raise ArtefactError(f"{path}: {error}") from None


def why_unread(version: object) -> str | None:
    """What is wrong with a file's schema version, for a message; None if it is read."""
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
        return (
            f"has schema version {clipped(version)}, this depthopt reads up to {SCHEMA_VERSION}; "
            "upgrade depthopt"
        )
    if isinstance(version, bool) or version not in range(1, SCHEMA_VERSION + 1):
        return (
            f"has schema version {clipped(version)}, expected 1 to {SCHEMA_VERSION}; make it anew"
        )
    return None


def _explain(error: ValidationError) -> str:
    """One line on the first mistake; text that is no value's says so itself."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return one_line(first["ctx"]["error"])
    got = f" (got {first['input']})" if first["type"] == "finite_number" else ""
    return f"{shortened('.'.join(map(str, first['loc'])), 300)}: {first['msg']}{got}"


def _lines(body: dict[str, Any]) -> str:
    """JSON with one line per element of each top-level list or dictionary."""
    fields = []
    for name, value in body.items():
        if isinstance(value, list) and value and isinstance(value[0], dict | str):
            inner = ",\n".join(f"    {json.dumps(element)}" for element in value)
            text = f"[\n{inner}\n  ]"
        elif isinstance(value, dict) and value:
            inner = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            text = f"{{\n{inner}\n  }}"
        else:
            text = json.dumps(value)
        fields.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(fields) + "\n}"
