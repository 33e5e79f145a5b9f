"""The commands. ``depthopt.cli.ending`` says what their exit statuses mean.

A command's module is imported when the command is called: help on all of them needs none.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup

import depthopt
from depthopt.cli.ending import STOPPED, ClosedOutput, ended_by, is_closed, open_streams, stopped
from depthopt.cli.loudness import Quiet, Verbose, speak, with_loudness
from depthopt.cli.stopping import stops_in_time
from depthopt.core.old_words import refusal
from depthopt.errors import UsageError


class Entry(NamedTuple):
    """Where a command is, and what it is for.

    Attributes:
        module: under ``depthopt.cli``.
        function: of the command, or the ``typer.Typer`` of a group of commands.
        purpose: the first line of its help.
    """

    module: str
    function: str
    purpose: str


COMMANDS = {
    "compress": Entry(
        "compress",
        "compress",
        "Make a network faster on this machine, and say how fast and how accurate it is.",
    ),
    "explore": Entry(
        "explore",
        "explore",
        "Find out in minutes how fast a network can get, and what that costs in accuracy.",
    ),
    "init": Entry(
        "compress",
        "init",
        "Write the recipe that `depthopt compress` would carry out, with a comment on every key.",
    ),
    "run": Entry(
        "run", "run", "Carry out a whole recipe: from a network and data to a faster network."
    ),
    "extract": Entry(
        "extract",
        "extract",
        "Show a network as a chain: its blocks, skips and barriers, and what is not used.",
    ),
    "doctor": Entry(
        "doctor",
        "doctor",
        "Show what depthopt understands of a network, what it leaves out, and what is proven.",
    ),
    "profile": Entry("profile", "profile", "Measure the latency of every block and candidate."),
    "check": Entry(
        "check",
        "check",
        "Check whether a network became slower, larger or less accurate than a baseline.",
    ),
    "estimate": Entry("estimate", "estimate", "Estimate what each candidate costs in accuracy."),
    "solve": Entry(
        "solve", "solve", "Find every good trade of latency against importance, and pick one."
    ),
    "frontier": Entry(
        "frontier",
        "frontier",
        "Find every good trade of latency against importance from table files.",
    ),
    "apply": Entry(
        "stages",
        "apply",
        "Build the planned shallow network, and fit its new convolutions on data.",
    ),
    "finetune": Entry(
        "stages", "finetune", "Train the shallow network, with the original as its teacher."
    ),
    "fuse": Entry(
        "stages",
        "fuse",
        "Fold norms, compose expanded convolutions, and check that the logits stay the same.",
    ),
    "export": Entry(
        "export", "export", "Write the fused network as ONNX, and check its logits on ONNX Runtime."
    ),
    "predict": Entry("predict", "predict", "Print the likeliest classes of images."),
    "report": Entry(
        "report", "report", "Show what a run found, and what another budget would give."
    ),
    "compare": Entry(
        "report", "compare", "Lay several runs side by side on one plot and in one table."
    ),
    "recipes": Entry(
        "recipes", "show_recipes", "List the recipes that come with depthopt, or print one."
    ),
    "tables": Entry("tables", "app", "Latency and importance tables as files."),
}
"""Commands by name, in the order of the help."""


@contextlib.contextmanager
def _told_if_closed() -> Iterator[None]:
    """Take a reader that is gone for what it is, before click makes exit status 1 of it."""
    try:
        yield
    except OSError as error:
        if is_closed(error):
            raise ClosedOutput from None
        raise


class _Commands(TyperGroup):
    """The commands, each imported when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the interface's
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if (said := refusal(cmd_name)) is not None:
            raise UsageError(said)
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        found = getattr(importlib.import_module(f"depthopt.cli.{entry.module}"), entry.function)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(rich_markup_mode=None, add_completion=False)
            alone.command(cmd_name)(with_loudness(found))
            found = alone
        return typer.main.get_command(found)

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the command line, and show its help."""
        with _told_if_closed():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _told_if_closed():
            return super().invoke(ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.purpose) for name, entry in COMMANDS.items()])


app = typer.Typer(
    cls=_Commands,
    help="Make a trained CNN or vision transformer shallower and faster for one device.",
    epilog="Start with: depthopt compress MODEL --data FOLDER",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"depthopt {depthopt.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Verbose = False,
    quiet: Quiet = False,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    speak(verbose=verbose, quiet=quiet)


def main() -> NoReturn:
    """Run the command line and exit; of several processes only the first prints results."""
    open_streams()
    first = os.environ.get("RANK", "0") == "0"  # as torchrun and accelerate number them
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    with stops_in_time() as leave:
        try:
            with (
                Path(os.devnull).open("w", encoding="utf-8") as nowhere,
                contextlib.redirect_stdout(sys.stdout if first else nowhere),
            ):
                code = app(standalone_mode=False) or 0
                if code == STOPPED:
                    stopped()
                sys.stdout.flush()  # a reader that is gone is met here, not while Python ends
        except BaseException as error:
            # Statuses of ``check`` are read by machines: 1 is a regression and nothing else.
            code = ended_by(error, unsure=2 if command == "check" else None)
        leave(code)
    sys.exit(code)
