"""Show a run's progress: a line per stage, with a bar on terminals, else regular lines."""

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_S = 10.0
"""Seconds between lines if there is no terminal for a bar."""


class ConsoleReporter:
    """Shows stages and their progress on a console.

    Args:
        console: to print on.
        line_s: seconds between lines if it is not a terminal.
    """

    def __init__(self, console: Console, line_s: float = LINE_S) -> None:
        self._console, self._line_s = console, line_s
        self._bars = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bars.add_task("", visible=False)
        self._stage, self._begin, self._at = "", 0.0, ""
        self._ended = threading.Event()
        self._lines: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        else:
            # The stream as it is now: where a library is kept silent, it is another for a while.
            out = Console(file=self._console.file, width=self._console.width)
            out.quiet = self._console.quiet
            self._lines = threading.Thread(
                target=self._tell, args=(out,), name="progress", daemon=True
            )
            self._lines.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._lines is None:
            self._bars.stop()
        else:
            self._ended.set()
            self._lines.join()

    def _tell(self, out: Console) -> None:
        """Print a line now and then on what is under way."""
        while not self._ended.wait(self._line_s):
            if stage := self._stage:
                seconds = time.monotonic() - self._begin
                out.print(f"{stage:<9} {seconds:6.0f} s  {self._at or '...'}", highlight=False)

    def started(self, stage: str) -> None:
        """Show a new bar."""
        self._stage, self._begin, self._at = stage, time.monotonic(), ""
        self._bars.reset(self._task, total=None, description=stage, visible=True)
        if not self._console.is_terminal:
            self._console.print(f"{stage} ...")

    def progress(self, done: int, total: int, what: str) -> None:
        """Move the bar."""
        self._at = f"{what} {done}/{total}"
        self._bars.update(
            self._task, completed=done, total=total, description=f"{self._stage}: {what}"
        )

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        """Print the stage's line."""
        self._stage = ""
        self._bars.update(self._task, visible=False)
        self._console.print(f"{stage:<9} {seconds:6.1f} s  {summary}", highlight=False)

    def skipped(self, stage: str) -> None:
        """Print that the stage was done before."""
        self._console.print(f"{stage:<9}   done before", highlight=False, style="dim")
