"""SHA-256 digests of stored files: how they are computed, written and compared.

A file says the digest of all else in it, so that one whose values changed after it was written is
told from a whole one. It is a guard against damage and against what is changed or exchanged by
mistake. Anyone who changes a file on purpose can compute its digest again.

- A JSON artefact has it in its head. It is that of the content and not of the text: laid out
  otherwise, a file stays whole.
- A safetensors file has it in its metadata. It is that of names, types, shapes, all bytes, and the
  rest of the metadata.
- A text that people may change, a run's recipe, has it in its last line, a comment. There it says
  that the text was changed, and forbids nothing.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from depthopt.errors import ArtefactError

logger = logging.getLogger(__name__)

KEY = "sha256"
"""Key of the digest in an artefact's head and in safetensors metadata."""

CHANGED = f"was changed after it was written (its {KEY} does not fit)"

_SIGNATURE = f"# {KEY} of all above: "

_METADATA = "__metadata__"
_LENGTH_BYTES = 8
"""Of a safetensors file: the length of its header, which is filled up to whole words of these."""


def of_bytes(content: bytes) -> str:
    """The digest of bytes."""
    return hashlib.sha256(content).hexdigest()


def of_file(path: Path) -> str:
    """The digest of a file's bytes; empty where there is no file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_json(content: Any) -> str:
    """The digest of JSON content, independent of its layout."""
    return of_bytes(_canonical(content))


def signed(text: str) -> str:
    """A text with its digest as a comment in the last line."""
    return f"{text}{_SIGNATURE}{of_bytes(text.encode())}\n"


def is_as_signed(text: str) -> bool | None:
    """Whether a text is unchanged since it was signed. None if it has no digest."""
    start = text.rfind(_SIGNATURE)
    return None if start < 0 else text == signed(text[:start])


def sealed(content: bytes) -> bytes:
    """A safetensors file with its digest.

    Args:
        content: a safetensors file, as the library writes it.
    """
    header, data = _parts(content)
    told = _untold(header.pop(_METADATA, {}))
    digest = _of_tensors({_METADATA: told, **header}, data)
    text = _compact({_METADATA: {**told, KEY: digest}, **header})
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return b"".join([len(text).to_bytes(_LENGTH_BYTES, "little"), text, data])


def metadata(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file.

    Raises:
        ValueError: its header is not whole.
    """
    found: dict[str, str] = _parts(content)[0].get(_METADATA, {})
    return found


def check_tensors(content: bytes, path: Path, *, own: bool, instead: str) -> None:
    """Refuse a safetensors file that was changed after it was written.

    Args:
        content: of the file.
        path: its name.
        own: whether depthopt wrote it: then a line says so where it has no digest.
        instead: what to do.

    Raises:
        ArtefactError: it was changed, or its header is not whole.
    """
    try:
        header, data = _parts(content)
    except ValueError as error:
        raise ArtefactError(f"{path} is not whole safetensors ({error}); {instead}") from None
    told = header.get(_METADATA, {})
    if KEY not in told:
        if own:
            tell_of_none(path)
    elif _of_tensors({**header, _METADATA: _untold(told)}, data) != told[KEY]:
        raise ArtefactError(f"{path} {CHANGED}; {instead}")


def tell_of_none(path: Path) -> None:
    """Warn, once for each file, that it has no digest."""
    _tell_of_none(str(path))


@cache
def _tell_of_none(path: str) -> None:
    logger.warning("%s carries no %s, as of an earlier version, and is read unchecked", path, KEY)


def _parts(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """The header and the data of a safetensors file.

    https://huggingface.co/docs/safetensors: the header's length, the header as JSON, the data.
    """
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    if not _LENGTH_BYTES < start <= len(content):
        raise ValueError(f"{len(content)} bytes, and a header that ends at {start}")
    header = json.loads(content[_LENGTH_BYTES:start])
    if not isinstance(header, dict) or not isinstance(header.get(_METADATA, {}), dict):
        raise ValueError("a header that is not a table of tensors")  # noqa: TRY004 - of the file's
    return header, memoryview(content)[start:]


def _untold(told: Mapping[str, str]) -> dict[str, str]:
    """Metadata without the digest."""
    return {name: value for name, value in told.items() if name != KEY}


def _of_tensors(header: Mapping[str, Any], data: memoryview) -> str:
    digest = hashlib.sha256(_canonical(header))
    digest.update(data)
    return digest.hexdigest()


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _compact(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
