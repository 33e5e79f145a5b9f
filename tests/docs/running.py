"""Run the blocks of a page, or look at those that are not run as far as that can be done.

A command of depthopt is run in this process, which is quicker; other lines by bash. What is marked
as not run is still read: a command's options, a recipe's keys, and the names of Python.
"""

import contextlib
import importlib
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
import yaml

import depthopt
from depthopt.cli.main import app, main
from depthopt.errors import DepthoptError
from depthopt.pipeline.recipe import make_recipe
from tests.docs.blocks import ROOT, Block, PageError
from tests.docs.substitutions import BASH, LOOKED_AT, PYTHON, STATUSES, substituted

_LEAST: dict[str, Any] = {
    "model": {"name": "resnet18", "input_size": [3, 32, 32]},
    "data": {"source": "digits"},
    "budget": {"speedup": 2},
}
"""What a part of a recipe is completed with."""


@dataclass
class Session:
    """One page being run.

    Attributes:
        folder: that its commands run in.
        as_printed: nothing is substituted.
        names: that Python's blocks share.
        seed: puts a finished run where a command will write, so that it goes on from there; it
            takes the command.
        environment: of commands.
    """

    folder: Path
    as_printed: bool = False
    names: dict[str, Any] = field(default_factory=dict)
    seed: Callable[[str], None] = lambda _: None
    environment: dict[str, str] = field(default_factory=dict)


def run(block: Block, session: Session) -> None:
    """Run a block; look at it only, if it is marked.

    Raises:
        PageError: it fails.
    """
    if block.language == "yaml":
        _yaml(block, session)
    elif block.language == "toml":
        with _told(block, 0):
            tomllib.loads(block.text)
    elif block.language == "bash":
        for line, text in _lines(block):
            with _told(block, line):
                for command in split(text):
                    look_at(command.words)
                if block.reason is None:
                    _bash(text, session)
    elif block.language == "python":
        _python(block, session)


# --- commands


@dataclass(frozen=True)
class Command:
    """A command between the operators of a line of bash.

    Attributes:
        words: the program and its arguments.
        into: file for its output.
        pipe: what its output goes through, as bash has it.
        simple: nothing of it is left to bash: no variable, no wildcard, no loop.
    """

    words: tuple[str, ...]
    into: str | None = None
    pipe: str = ""
    simple: bool = True


def split(text: str) -> list[Command]:
    """The commands of a line; comments are left out."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    pieces = list(lexer)
    simple = not any(re.search(r"[$`*?]|^(for|if|while)$", piece) for piece in pieces)
    found: list[Command] = []
    words: list[str] = []
    into, pipe = None, ""
    while pieces:
        piece = pieces.pop(0)
        if piece == ">" and pieces and not pipe:
            into = pieces.pop(0)
        elif piece in {"&&", ";"}:
            found.append(Command(tuple(words), into, pipe, simple))
            words, into, pipe = [], None, ""
        elif piece == "|" or pipe:
            pipe += f" {piece if set(piece) <= set('&|;<>') else shlex.quote(piece)}"
        else:
            simple = simple and not set(piece) <= set("&|;<>")
            words.append(piece)
    found.append(Command(tuple(words), into, pipe, simple))
    return [each for each in found if each.words]


def look_at(words: Sequence[str]) -> None:
    """Check a command as far as that needs no run of it.

    Raises:
        ValueError: a command, an option or a recipe's key is not there; or a script is not.
    """
    words = list(words)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    if "accelerate" in words[:1] and "depthopt" in words:
        words = words[words.index("depthopt") :]
    if words[:3] == [words[0], "-m", "depthopt"]:
        words = words[2:]
    if words[0] == "depthopt":
        _look_at_ours(words[1:])
    elif words[0] in {"python", "python3"} and len(words) > 1 and words[1].endswith(".py"):
        if words[1].startswith(("tests/", "docs/")) and not (ROOT / words[1]).exists():
            raise ValueError(f"there is no {words[1]}")
    elif words[0] == "pytest":
        _look_at_pytest(words[1:])


def _look_at_ours(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    name = "depthopt"
    while words and not words[0].startswith("-"):
        inner = command.get_command(None, words[0])
        if inner is None:
            raise ValueError(f"{name} has no command {words[0]}")
        name, command, words = f"{name} {words[0]}", inner, words[1:]
        if not hasattr(command, "get_command"):
            break
    if {"--help", "--version"} & set(words):
        return
    if hasattr(command, "get_command"):
        if words:
            raise ValueError(f"{name} has no option {words[0]}")
        return
    try:
        context = command.make_context(name, list(words))
    except Exception as error:
        said = error.format_message() if hasattr(error, "format_message") else error
        raise ValueError(f"{name}: {said}") from None
    overrides = [*(context.params.get("overrides") or ()), *(context.params.get("changes") or ())]
    make_recipe({key: dict(part) for key, part in _LEAST.items()}, overrides)


def _look_at_pytest(words: Sequence[str]) -> None:
    for word in words:
        if "/" in word and not word.startswith("-") and not (ROOT / word.split("::")[0]).exists():
            raise ValueError(f"there is no {word}")
    if "-m" in words:
        known = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        for mark in re.findall(r"\b(?!and\b|or\b|not\b)\w+", words[words.index("-m") + 1]):
            if f'"{mark}: ' not in known:
                raise ValueError(f"pyproject.toml has no marker {mark}")


def _bash(text: str, session: Session) -> None:
    commands = split(text)
    if all(each.simple for each in commands):
        for command in commands:
            _command(command, session)
    elif session.as_printed or "depthopt" not in text:
        _by_bash(text, session)
    else:
        raise ValueError("what bash makes of this line is not known; write it without $ and *")


def _command(command: Command, session: Session) -> None:
    words = command.words
    if words[0] == "cd":
        session.folder = (session.folder / words[1]).resolve()
        return
    if words[0] == "export":
        session.environment.update(word.split("=", 1) for word in words[1:])
        return
    text = shlex.join(words)
    if not session.as_printed:
        text = substituted(text, BASH)
    if any(re.match(each, text) for each in LOOKED_AT):
        return
    if words[0] == "pip":
        raise ValueError("it installs packages; mark it: <!-- not run: installs packages -->")
    into = f" > {shlex.quote(command.into)}" if command.into is not None else ""
    if words[0] == "python" and (session.folder / words[-1]).is_file() and not session.as_printed:
        with _in(session.folder), contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(words[-1], run_name="__main__")  # a process of its own imports torch
        return
    if not text.startswith("depthopt "):
        _by_bash(f"{text}{command.pipe}{into}", session)
        return
    session.seed(text)
    status, said = call(shlex.split(text)[1:], session)
    if status not in STATUSES.get(shlex.split(text)[1], (0,)):
        raise ValueError(f"status {status} of {text}\n{said[-2000:]}")
    if command.pipe or into:
        _by_bash(f"cat{command.pipe}{into}", session, given=said)


def call(arguments: Sequence[str], session: Session) -> tuple[int, str]:
    """Run depthopt's command line in this process; its status, and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    status, argv = 0, sys.argv
    with _in(session.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["depthopt", *arguments]
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            sys.argv = argv
    return status, out.getvalue() if not status else f"{out.getvalue()}{err.getvalue()}"


def _by_bash(text: str, session: Session, given: str = "") -> None:
    roots = f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'packages'}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": roots, **session.environment}
    done = subprocess.run(
        ["/bin/bash", "-e", "-o", "pipefail", "-c", text], cwd=session.folder, env=environment,
        capture_output=True, text=True, check=False, input=given,
        timeout=None if session.as_printed else 60,
    )  # fmt: skip
    if done.returncode:
        raise ValueError(f"status {done.returncode} of {text}\n{done.stderr[-2000:]}")


# --- recipes and Python


def _yaml(block: Block, session: Session) -> None:
    with _told(block, 0):
        content = yaml.safe_load(block.text)
        if block.reason == "a workflow of GitHub":
            return
        if not isinstance(content, dict):
            raise PageError(block.page, block.line, "this is neither a recipe nor a part of one")
    whole = {key: dict(part) for key, part in _LEAST.items()}
    for key, part in content.items():
        keeps = isinstance(part, dict) and key in whole and key != "budget"
        whole[key] = {**whole[key], **part} if keeps else part
    try:
        make_recipe(whole)
    except DepthoptError as error:
        raise PageError(block.page, block.line + _line_of(str(error), block.text), error) from None
    if block.file is not None:
        _write(session.folder / block.file, block.text)


def _line_of(message: str, text: str) -> int:
    """The line that an error's key is on, of a block's."""
    keys = re.findall(r"[\w.]+", message.removeprefix("recipe: ").removeprefix("unknown key "))
    name = keys[0].rpartition(".")[2] if keys else ""
    found = [i for i, line in enumerate(text.splitlines()) if re.search(rf"\b{name}\b *:", line)]
    return found[0] if name and found else 0


def _python(block: Block, session: Session) -> None:
    place = str(block.page)
    with _told(block, 0):
        compile(block.text, place, "exec")
    for name in re.finditer(r"\bdepthopt\.(\w+)\b", block.text):
        line = block.text.count("\n", 0, name.start())
        if not name[0].endswith(".py") and not _is_ours(name[1]):
            raise PageError(block.page, block.line + line, f"depthopt has no {name[1]}")
    if block.reason is not None:
        return
    text = block.text if session.as_printed else substituted(block.text, PYTHON)
    if block.file is not None:
        _write(session.folder / block.file, text)
        return
    session.seed(text)
    code = compile("\n" * (block.line - 1) + text, place, "exec")
    names = session.names
    names.setdefault("__name__", "__main__")
    try:
        with _in(session.folder), contextlib.redirect_stdout(io.StringIO()):
            exec(code, names)  # noqa: S102 - what the page says
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == place]
        line = frames[-1].lineno if frames else None
        what = f"{type(error).__name__}: {error}"
        raise PageError(block.page, line or block.line, what) from error


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link to a file that others read
    path.write_text(text, encoding="utf-8")


def forget(folder: Path) -> None:
    """Modules that were imported from a folder are not there for the next page."""
    for name, module in list(sys.modules.items()):
        if type(module) is not ModuleType:
            continue  # torch's are made as they are asked
        file, paths = getattr(module, "__file__", None), getattr(module, "__path__", ())
        if any(Path(each).is_relative_to(folder) for each in (file, *paths) if each is not None):
            del sys.modules[name]


def _is_ours(name: str) -> bool:
    if name in {*depthopt.__all__, "__version__"}:
        return True
    try:
        importlib.import_module(f"depthopt.{name}")
    except ModuleNotFoundError:
        return False
    return True


# --- both


def _lines(block: Block) -> Iterator[tuple[int, str]]:
    """The lines of bash with their numbers in the block; continued ones are one."""
    lines, number = block.text.splitlines(), 0
    while number < len(lines):
        first, text = number, lines[number]
        while text.endswith("\\") and number + 1 < len(lines):
            number += 1
            text = f"{text[:-1].rstrip()} {lines[number].strip()}"
        number += 1
        if text.strip() and not text.strip().startswith("#"):
            yield first, text


@contextlib.contextmanager
def _told(block: Block, line: int) -> Iterator[None]:
    """What fails inside, told with the page and the line."""
    try:
        yield
    except PageError:
        raise
    except (
        ValueError,
        DepthoptError,
        SyntaxError,
        yaml.YAMLError,
        subprocess.TimeoutExpired,
    ) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark is not None else (getattr(error, "lineno", None) or line + 1) - 1
        raise PageError(block.page, block.line + line, error) from error


@contextlib.contextmanager
def _in(folder: Path) -> Iterator[None]:
    """The folder as the working directory, which modules are imported from too."""
    before, path = Path.cwd(), list(sys.path)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
