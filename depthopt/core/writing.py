"""What to say of a file that cannot be written: the one that was wanted, why, and what to do."""

import contextlib
import errno
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from depthopt.errors import WriteFailed

P = ParamSpec("P")
T = TypeVar("T")

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
"""By what the system says."""


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name ``path``, the reason and a remedy where the system refuses a write.

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


def naming_its_file(write: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """A function that writes its first argument, with ``writing`` around it."""

    @functools.wraps(write)
    def named(path: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with writing(path):
            return write(path, *args, **kwargs)

    return named
