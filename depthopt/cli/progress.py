"""A run's progress on the terminal: one line a stage, a bar while it works."""

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


class ConsoleReporter:
    """Shows stages and bars on a console; bars only where it is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
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
        self._stage = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def started(self, stage: str) -> None:
        """Show a new bar."""
        self._stage = stage
        self._bars.reset(self._task, total=None, description=stage, visible=True)
        if not self._console.is_terminal:
            self._console.print(f"{stage} ...")

    def progress(self, done: int, total: int, what: str) -> None:
        """Move the bar."""
        self._bars.update(
            self._task, completed=done, total=total, description=f"{self._stage}: {what}"
        )

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        """Print the stage's line."""
        self._bars.update(self._task, visible=False)
        self._console.print(f"{stage:<9} {seconds:6.1f} s  {summary}", highlight=False)

    def skipped(self, stage: str) -> None:
        """Print that the stage was done before."""
        self._console.print(f"{stage:<9}   done before", highlight=False, style="dim")
