"""Lock a run's folder, so that one run at a time works in it.

It is the operating system's (``flock``), on a file that says who holds it. The file is removed at
a normal end; one that a killed process leaves locks nothing, and the next run takes it over.
``filelock`` is not used: it empties the file of whoever asks, and cannot remove it safely.
"""

import contextlib
import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from depthopt.core.writing import writing
from depthopt.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

NAME = ".lock"

_HELD = (errno.EACCES, errno.EAGAIN)
"""What the system says of a lock that another process has."""


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock a run's folder, which is made if it does not exist.

    Where the system or the file system knows no locks, a line of the log says so.

    Raises:
        UsageError: another process has it; the message says which.
        WriteFailed: nothing may be written there.
    """
    path, made = folder / NAME, not folder.exists()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(path)
    if file is None:
        yield
        return
    try:
        with writing(folder):
            os.ftruncate(file, 0)
            os.pwrite(file, _who().encode(), 0)
        yield
    finally:
        _open_files.discard(file)
        path.unlink(missing_ok=True)
        os.close(file)
        if made:  # and nothing came of it
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Hold a lock for reading a run's folder while no run works in it. Nothing is written.

    Others may read at the same time. A run that begins meanwhile is not kept from it, unless a
    killed one left its file: who reads compares digests.

    Raises:
        UsageError: a run is at work in it; the message says which.
    """
    file = _shared(folder / NAME)
    try:
        yield
    finally:
        if file is not None:
            _open_files.discard(file)
            os.close(file)


def _shared(path: Path) -> int | None:
    """An open file with a lock that others may have, too; None where there is nothing to lock."""
    if fcntl is None:
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        said = _said(file)
        os.close(file)
        if error.errno in _HELD:
            raise UsageError(
                f"{path.parent} is in use by {said}; wait until that has ended"
            ) from None
        return None
    _open_files.add(file)
    return file


_open_files = set[int]()
"""Of locks held; processes that are forked have them closed, so that they do not hold them on."""


def _close_all() -> None:
    while _open_files:
        os.close(_open_files.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)


def _locked(path: Path) -> int | None:
    """An open file with the lock; None where there are no locks."""
    if fcntl is None:
        logger.warning("this system has no locks: do not start a second run in %s", path.parent)
        return None
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            said = _said(file)
            os.close(file)
            if error.errno in _HELD:
                raise UsageError(
                    f"{path.parent} is in use by {said}; wait until that has ended, end it, or "
                    "name another folder by --run-dir"
                ) from None
            logger.warning("%s cannot be locked (%s)", path.parent, error.strerror)
            return None
        if _is_there(file, path):
            _open_files.add(file)
            return file
        os.close(file)  # its holder removed it meanwhile


def _is_there(file: int, path: Path) -> bool:
    """Whether an open file is the one that a path names."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _who() -> str:
    since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    return json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since})


def _said(file: int) -> str:
    """Who says to hold a lock, in words."""
    try:
        who = json.loads(os.pread(file, 4096, 0))
        return f"process {who['process']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is about to say so
        return "another process"
