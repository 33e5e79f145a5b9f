"""End a command within seconds after Ctrl-C, whatever it is doing.

Python raises ``KeyboardInterrupt`` once the call into a library that it waits for returns, which
may take minutes (a regression, the build of an engine), and may then wait for other processes. So
a thread of its own hears of the signal at once, and ends the process where nothing else did in
time. Every file of a run is written whole or not at all: the run goes on from there.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

from depthopt.cli.ending import STOPPED, stopped

PATIENCE_S = 2.0
"""Seconds in which a command may end by itself."""


@contextlib.contextmanager
def stops_in_time(patience_s: float = PATIENCE_S) -> Iterator[Callable[[int], None]]:
    """End a process that is still running some seconds after Ctrl-C, or at a second Ctrl-C.

    Args:
        patience_s: seconds in which it may end by itself.

    Yields:
        What to call last, with the exit status: it ends the process if Ctrl-C was heard, for no
        thread is left to watch over the end of Python.
    """
    if threading.current_thread() is not threading.main_thread() or os.name == "nt":
        yield lambda _: None
        return
    watch = _Watch(patience_s)
    before = signal.set_wakeup_fd(watch.writer, warn_on_full_buffer=False)
    try:
        yield watch.leave
    finally:
        if not watch.heard.is_set():  # else it goes on to the end of Python, which may wait too
            signal.set_wakeup_fd(before)
            os.close(watch.writer)
            watch.thread.join()


def _forget() -> None:
    """Leave the pipe to the parent, whose signals would else be counted twice."""
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class _Watch:
    """The thread that hears of the signal.

    Attributes:
        writer: the end of a pipe that signals are written to.
        heard: whether Ctrl-C was.
        left: whether the command has ended, so that all that is to be said was.
    """

    def __init__(self, patience_s: float) -> None:
        self.heard, self.left = threading.Event(), threading.Event()
        self._patience_s, self._err = patience_s, sys.stderr
        self._reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.thread = threading.Thread(target=self._watch, name="Ctrl-C", daemon=True)
        self.thread.start()

    def leave(self, status: int) -> None:
        """End the process, if it was to be stopped; else go on."""
        self.left.set()
        if not self.heard.is_set():
            return
        atexit._run_exitfuncs()  # noqa: SLF001 - what Python would do, with the thread beside it
        _end_now(status)

    def _watch(self) -> None:
        while signals := os.read(self._reader, 64):
            if signal.SIGINT in signals:
                self.heard.set()
                self._end()
        os.close(self._reader)

    def _end(self) -> None:
        os.set_blocking(self._reader, False)
        end, again = time.monotonic() + self._patience_s, False
        while time.monotonic() < end and not again:
            time.sleep(0.05)
            with contextlib.suppress(BlockingIOError):
                again = signal.SIGINT in os.read(self._reader, 64)
        if not self.left.is_set():
            sys.stderr = self._err  # a library may be kept silent just now
            stopped()
        _end_now(STOPPED)


def _end_now(status: int) -> None:
    """End this process, and those that it started: workers that read images, or regress."""
    import psutil  # noqa: PLC0415 - only when it is needed

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    os._exit(status)
