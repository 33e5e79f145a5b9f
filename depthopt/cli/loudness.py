"""How much a command logs: ``-v`` and ``-q``, before the command or after it."""

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from depthopt.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only the result, warnings and errors.")
]


def speak(*, verbose: bool, quiet: bool) -> None:
    """Log to standard error as loudly as is asked for.

    Raises:
        UsageError: both are asked for.
    """
    if verbose and quiet:
        raise UsageError("--verbose and --quiet cannot be used together; give one")
    from depthopt.cli.options import err  # noqa: PLC0415 - help needs none of it

    err.quiet = quiet
    root = logging.getLogger()
    root.setLevel(logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING)
    for handler in _own:
        root.removeHandler(handler)
    _own.clear()
    if not root.handlers:  # else whoever called has chosen how to log
        _own.append(_handler(err))
        root.addHandler(_own[0])


_own: list[logging.Handler] = []
"""The handler that was added here, if one was."""


def _handler(console: "Console") -> logging.Handler:
    if console.is_terminal and not console.quiet:
        from rich.logging import RichHandler  # noqa: PLC0415 - help needs none of it

        return RichHandler(console=console, show_time=False, show_path=False)
    handler = logging.StreamHandler(sys.stderr)  # in a file a line stays a line
    handler.setFormatter(logging.Formatter("%(levelname)-8s %(message)s"))
    return handler


def with_loudness(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that takes ``-v`` and ``-q`` behind its name too."""

    @functools.wraps(command)
    def called(*arguments: Any, verbose: bool = False, quiet: bool = False, **options: Any) -> Any:
        if verbose or quiet:
            speak(verbose=verbose, quiet=quiet)
        return command(*arguments, **options)

    signature = inspect.signature(command)
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("verbose", Verbose), ("quiet", Quiet))
    ]
    vars(called)["__signature__"] = signature.replace(
        parameters=[*signature.parameters.values(), *own]
    )
    called.__annotations__ = {**command.__annotations__, "verbose": Verbose, "quiet": Quiet}
    return called
