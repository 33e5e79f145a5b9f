"""The commands. Exit codes: 0 done, 1 a failure while running, 2 input to be mended.

``check`` has one more, 3, for what cannot be told. A command's module is imported when the
command is called: help on all of them needs none.
"""

import contextlib
import importlib
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperGroup

from depthopt.core.old_words import refusal
from depthopt.errors import DepthoptError, UsageError


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
        "Say what is understood of a network, what is left out and why, and what is proven.",
    ),
    "profile": Entry("profile", "profile", "Measure the latency of everything that may run."),
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
        "Carry out the plan: the shallow network, its new convolutions fitted on data.",
    ),
    "finetune": Entry(
        "stages", "finetune", "Train the shallow network, with the original as its teacher."
    ),
    "fuse": Entry(
        "stages",
        "fuse",
        "Fold norms, compose what was trained expanded, and check that the logits stay the same.",
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
    "tables": Entry("tables", "app", "Latency and importance tables as files."),
}
"""By name, in the order of the help."""


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
            alone.command(cmd_name)(found)
            found = alone
        return typer.main.get_command(found)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.purpose) for name, entry in COMMANDS.items()])


app = typer.Typer(
    cls=_Commands,
    help="Make a trained convolutional network shallower and faster for one device.",
    epilog="Start with: depthopt run recipes/quickstart.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens.")] = False,
) -> None:
    from rich.logging import RichHandler  # noqa: PLC0415 - help needs none of it

    from depthopt.cli.options import err  # noqa: PLC0415 - as above

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=err, show_time=False, show_path=False)],
    )


def main() -> NoReturn:
    """Run the command line and exit; of several processes only the first prints results."""
    first = os.environ.get("RANK", "0") == "0"  # as torchrun and accelerate number them
    try:
        with (
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(sys.stdout if first else nowhere),
        ):
            app()
    except UsageError as error:
        _fail(error, 2)
    except DepthoptError as error:
        _fail(error, 1)
    except OSError as error:  # a full disk, a folder that may not be written
        _fail(error, 1)
    except KeyboardInterrupt:
        print("stopped; start the same command again to go on", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def _fail(error: Exception, code: int) -> NoReturn:
    print(f"depthopt: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(code)
