"""How a command ends: its exit status, and the one line that says why.

Statuses are 0 done, 1 a failure while running, 2 input to correct, 70 a defect of depthopt
(``EX_SOFTWARE`` of sysexits.h), 130 stopped by the user, 141 nobody reads the output (as of a
process that SIGPIPE ended). ``check`` ends with 1 only for a regression, with 3 if it cannot
decide, and with 2 for all other failures.
"""

import codecs
import errno
import os
import platform
import sys
import tempfile
import traceback
from importlib.metadata import PackageNotFoundError, metadata, requires, version

import typer

from depthopt.check.requirements import name_of
from depthopt.core.clipped import one_line
from depthopt.errors import DepthoptError, UsageError

DEFECT = 70
STOPPED = 130
NOT_READ = 141

_PACKAGES = ("depthopt", "torch", "timm", "numpy", "onnx", "onnxruntime", "pydantic", "typer")


class ClosedOutput(Exception):  # noqa: N818 - named for what is the case
    """Nobody reads the output any more, as after ``depthopt ... | head -1``."""


def is_closed(error: BaseException) -> bool:
    """Whether an error says that nobody reads the output."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def open_streams() -> None:
    """Make the standard streams usable, however the process was started.

    Closed streams lead nowhere. Otherwise the next file that is opened would take their place, and
    what a library prints would be written into it. What a stream's encoding cannot write becomes
    the bytes of the file's name, or an escape.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    codecs.register_error("depthopt.printable", _printable)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="depthopt.printable")


def _printable(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes that a name was read from; an escape for all else."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def ended_by(error: BaseException, *, unsure: int | None) -> int:
    """Say in one line what ended a command, and give its exit status.

    Args:
        error: that ended it.
        unsure: the status where the command did not do what it was asked for; None where that is
            told by the error.
    """
    if isinstance(error, ClosedOutput) or is_closed(error):
        _lead_nowhere()
        return NOT_READ
    if isinstance(error, KeyboardInterrupt):
        return stopped()
    if isinstance(error, ModuleNotFoundError) and (lacking := _lacking(error)) is not None:
        error = lacking
    status = _status(error)
    if status is None:
        _say(f"depthopt: {_defect(error)}")
        return DEFECT if unsure is None else unsure
    if hasattr(error, "show"):  # click's own, of the command line itself
        error.show(file=sys.stderr)
    elif isinstance(error, typer.Abort):
        _say("depthopt: a question was not answered; give the option that it asks for")
    else:
        _say(f"depthopt: {one_line(error)}")
    return status if unsure is None else unsure


def stopped() -> int:
    """Say that the user stopped the command, and give its exit status."""
    _say("stopped; start the same command again to go on")
    return STOPPED


def _lacking(error: ModuleNotFoundError) -> UsageError | None:
    """The message for a package that depthopt needs and this install lacks, else None."""
    package = (error.name or "").partition(".")[0].lower()
    if package not in _required():
        return None
    return UsageError(
        f"{package} is not installed: this install is only for `depthopt check` of ONNX files; "
        "for everything else run: pip install depthopt"
    )


def _required() -> set[str]:
    """The packages of a plain install, as pip names them."""
    try:
        lines = requires("depthopt") or []
    except PackageNotFoundError:
        return set()
    return {name_of(line) for line in lines if "extra ==" not in line}


def _status(error: BaseException) -> int | None:
    """The exit status for an error. None for a defect."""
    if isinstance(error, UsageError):
        return 2
    if isinstance(error, DepthoptError | OSError):  # such as a full disk, or no right to write
        return 1
    if isinstance(error, typer.Abort | SystemExit):
        return 1
    code = getattr(error, "exit_code", None)
    return code if isinstance(code, int) else None


def _defect(error: BaseException) -> str:
    """A line on an unexpected exception. Its traceback goes to a separate file."""
    what = type(error).__name__
    if (said := one_line(error)) != what:
        what = f"{what}: {said}"
    report = _report(error)
    try:
        file, name = tempfile.mkstemp(prefix="depthopt-", suffix=".log")
        with os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace") as log:
            log.write(report)
        where = f"the details are in {name}"
    except OSError:
        _say(report)
        where = "the details are above"
    return (
        f"a defect of depthopt: {what}; {where}, please report it{_address()} with them and with "
        "what `depthopt doctor` says of the network"
    )


def _report(error: BaseException) -> str:
    """What is needed to correct it: the command, versions, and where it happened."""
    versions = [f"{name} {_version(name)}" for name in _PACKAGES]
    head = [
        f"depthopt, called as: {sys.argv!r}",
        f"Python {platform.python_version()} on {platform.platform()}; {', '.join(versions)}",
        "",
    ]
    # A recursion's frames are all alike: its beginning and end will do.
    lines = "".join(traceback.format_exception(error)).splitlines()
    if len(lines) > 400:
        lines = [*lines[:100], f"[... {len(lines) - 300} lines ...]", *lines[-200:]]
    return "\n".join([*head, *lines, ""])


def _version(package: str) -> str:
    try:
        return version(package)
    except Exception:  # it is not installed, or not whole
        return "none"


def _address() -> str:
    """Where defects are reported, if the package says so."""
    try:
        urls = metadata("depthopt").get_all("Project-URL") or []
    except Exception:  # it is not installed, but run from its source
        urls = []
    return next((f" at {url.partition(', ')[2]}" for url in urls if url.startswith("Issues,")), "")


def _lead_nowhere() -> None:
    """Discard silently all output that is still to be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # nobody reads that either; the status still says it
        _lead_nowhere()
