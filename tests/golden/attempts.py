"""Trying an input that has a fault, in Python or as a command."""

import contextlib
import io
import sys
from collections.abc import Callable
from typing import Any

from depthopt.cli.main import main
from depthopt.errors import DepthoptError

Attempt = Callable[[], str]
"""Tries an input in the working folder, and gives what is said to it."""


def refused(call: Callable[[], Any]) -> str:
    """The error that a call in Python raises."""
    try:
        call()
    except (DepthoptError, ValueError) as error:
        return _steady(f"{type(error).__name__}: {error}")
    return "nothing"


def command(*words: str) -> str:
    """A command's exit code and its last line on stderr."""
    output, before, code = io.StringIO(), sys.argv, 0
    sys.argv = ["depthopt", *words]
    try:
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    return _steady(f"{code} {(output.getvalue().strip().splitlines() or ['nothing'])[-1]}")


def _steady(message: str) -> str:
    """A message less the names of tensors, which safetensors gives in a random order."""
    before, keys, _ = message.partition("Unexpected key(s) in state_dict:")
    return before + keys
