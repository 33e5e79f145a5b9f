"""Frozen dataclasses to JSON files and back: atomic, versioned, readable in a diff."""

import errno
import json
import os
import re
import secrets
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from depthopt.core.old_words import read_artefact
from depthopt.core.version_1 import upgraded
from depthopt.errors import ArtefactError

T = TypeVar("T")

SCHEMA_VERSION = 2
"""Raised when a change makes older readers misread a file."""

_TOKEN_BYTES = 8
"""Random bytes in the name of a file that is being written."""

_OWN = {"/dev/stdout": 1, "/dev/stderr": 2}
"""Open files of this process, which has come to a place in them."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either all of it or what it held before.

    Its folder is made if there is none. A link stays one, and what it leads to is written. A
    device or a pipe, such as ``/dev/stdout``, is written to.

    Raises:
        OSError: the system refuses, or ``path`` is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; name a file in it", str(path))
    if _is_stream(path):
        own = _OWN.get(str(path))
        with path.open("ab") if own is None else os.fdopen(os.dup(own), "wb") as file:
            file.write(content)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's, which nobody but their owner may read, wherever they are moved to.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(_TOKEN_BYTES)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def left_over(path: Path) -> list[Path]:
    """What processes that were killed while they wrote ``path`` have left beside it."""
    token = f"[0-9a-f]{{{2 * _TOKEN_BYTES}}}"
    ours = re.compile(rf"\.{re.escape(path.name)}\.{token}")
    return sorted(other for other in path.parent.iterdir() if ours.fullmatch(other.name))


def _is_stream(path: Path) -> bool:
    """Whether a path leads to something that a file must not take the place of."""
    system = path.is_absolute() and path.parts[1:2] in {("dev",), ("proc",)}
    return (system and path.exists()) or not (path.is_file() or path.is_dir() or not path.exists())


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
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is not whole JSON ({error}); make it anew") from None
    found = content.pop("type", None) if isinstance(content, dict) else None
    if found != kind.__name__:
        raise ArtefactError(f"{path} holds {found or 'no artefact'}, expected {kind.__name__}")
    version = content.pop("schema_version", None)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ArtefactError(
            f"{path} has schema version {version}, this depthopt reads up to {SCHEMA_VERSION}; "
            "upgrade depthopt"
        )
    try:
        content = read_artefact(found, upgraded(content) if version == 1 else content)
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise ArtefactError(f"{path}: {_explain(error)}") from None
    except ValueError as error:
        raise ArtefactError(f"{path}: {error}") from None


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
