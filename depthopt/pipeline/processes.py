"""The processes of a run: one, or as many as ``accelerate launch`` started."""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
from accelerate import PartialState

from depthopt.errors import UsageError

_PATIENCE = timedelta(days=7)
"""How long processes wait while the main one measures or estimates."""


class Processes:
    """Coordinates the processes of a run."""

    def __init__(self) -> None:
        self._state = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            on_cpu = not torch.accelerator.is_available()
            self._state = PartialState(cpu=on_cpu, timeout=_PATIENCE)

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self._state is None or self._state.is_main_process

    @property
    def number(self) -> int:
        """The number of processes."""
        return 1 if self._state is None else self._state.num_processes

    def require_one(self, stage: str, what: str) -> None:
        """Refuse work of the main process alone that would wait for the others.

        Raises:
            UsageError: the run has several processes.
        """
        if self._state is not None:
            raise UsageError(
                f"{what} trains in one process, {self._state.num_processes} were launched; "
                f"run `depthopt {stage}` with the recipe first, and then launch them"
            )

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process goes through a block before all others."""
        if self._state is None:
            yield
            return
        with self._state.main_process_first():
            yield

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Let all processes enter a block together, and wait for each other at its end."""
        self.wait()
        yield
        self.wait()

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self._state is not None:
            self._state.wait_for_everyone()
