"""Write files whole or not at all, and explain why one cannot be written."""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from depthopt.core.clipped import printable
from depthopt.errors import UsageError, WriteFailed

_AGAIN = "start the same command again"
_ELSEWHERE = "choose another place, or another user"
_REMEDIES = {
    errno.ENOSPC: f"free some space there, and {_AGAIN}",
    errno.EDQUOT: f"free some of your quota, and {_AGAIN}",
    errno.EFBIG: f"raise the limit on files' sizes (ulimit -f), and {_AGAIN}",
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.EROFS: _ELSEWHERE,
    errno.ENOTDIR: "a folder of its path is a file; choose another place",
    errno.EEXIST: "a folder of its path is a file; choose another place",
    errno.EISDIR: "it is a folder; choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""Remedies by the system's error number."""

_TOKEN_BYTES = 8
"""Random bytes in the name of a file that is being written."""

_OWN = {"/dev/stdout": 1, "/dev/stderr": 2}
"""Open files of this process, which has come to a place in them."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise an error with ``path``, reason and remedy when the system refuses a write.

    Raises:
        WriteFailed: the system refused.
    """
    try:
        yield
    except WriteFailed:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = _REMEDIES.get(error.errno or 0, f"see to that, and {_AGAIN}")
        raise WriteFailed(f"{path} could not be written: {reason}; {remedy}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either all of it or what it held before.

    Its folder is made if there is none. A link stays one, and what it leads to is written. A
    device or a pipe, such as ``/dev/stdout``, is written to.

    Raises:
        UsageError: ``path`` is a folder.
        WriteFailed: the system refuses; the message names ``path`` and what to do.
    """
    with writing(path):
        if path.is_dir():
            raise UsageError(f"{path} is a folder; name a file in it")
        _write(path, content)


def _write(path: Path, content: bytes) -> None:
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
    """Remove the files that ``write_bytes`` left behind when its process was killed.

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
