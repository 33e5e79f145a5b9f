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
from depthopt.core.clipped import clipped, one_line, printable, shortened
from depthopt.core.old_words import read_artefact
from depthopt.core.reading import read_json
from depthopt.core.version_1 import upgraded
from depthopt.core.writing import naming_its_file
from depthopt.errors import ArtefactError, CheckFailed, UsageError

T = TypeVar("T")

SCHEMA_VERSION = 2
"""Raised when a change makes older readers misread a file."""

_TOKEN_BYTES = 8
"""Random bytes in the name of a file that is being written."""

_OWN = {"/dev/stdout": 1, "/dev/stderr": 2}
"""Open files of this process, which has come to a place in them."""

_MADE_FROM = "made_from"


@naming_its_file
def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either all of it or what it held before.

    Its folder is made if there is none. A link stays one, and what it leads to is written. A
    device or a pipe, such as ``/dev/stdout``, is written to.

    Raises:
        UsageError: ``path`` is a folder.
        WriteFailed: the system refuses; the message names ``path`` and what to do.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
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


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, as ``write_bytes`` does."""
    write_bytes(path, printable(text).encode())


def remove_left_overs(folder: Path, name: str | None = None) -> None:
    """Remove from a folder what ``write_bytes`` leaves of a process that is killed in it.

    Args:
        folder: it need not exist.
        name: of the file that nobody else writes now; None where that holds for all of them.
    """
    begin = r"\..+" if name is None else rf"\.{re.escape(name)}"
    ours = re.compile(rf"{begin}\.[0-9a-f]{{{2 * _TOKEN_BYTES}}}", re.DOTALL)
    for path in folder.iterdir() if folder.is_dir() else ():
        if ours.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    """Whether a path leads to something that a file must not take the place of."""
    system = path.is_absolute() and path.parts[1:2] in {("dev",), ("proc",)}
    return (system and path.exists()) or not (path.is_file() or not path.exists())


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
    write_text(path, _lines(head | {digests.KEY: digest} | body) + "\n")


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
        content = read_json(path)
    except FileNotFoundError:
        raise ArtefactError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} is not whole JSON ({one_line(error)}); make it anew") from None
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
