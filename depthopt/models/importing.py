"""Import a user's code by its name: files and modules, and what they import.

A file is run under a private name, with its folder first on Python's path, as ``python FILE.py``
has it; a module is searched in the working directory too, as ``python -m`` has it. What a module
consumes of torch's random numbers is given back, and what it prints goes to standard error.
"""

import contextlib
import difflib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import torch

from depthopt.core import digests, limits
from depthopt.core.clipped import one_line, shortened
from depthopt.core.reading import read_bytes
from depthopt.errors import ModelError
from depthopt.models.names import MODELS, Code

_PREFIX = "_depthopt_"
"""Of the private names of files."""

_brought: dict[str, Path] = {}
"""Modules that were found in a folder which is on the path no longer, and the folder."""


def load_callable(code: Code) -> Callable[..., Any]:
    """The callable with this name. Its file is run, or its module imported, once per process.

    Raises:
        ModelError: there is no such file, module or callable, or its code raises.
    """
    module = _file(code) if code.is_file else _module(code)
    found = getattr(module, code.name, None)
    if found is None:
        known = [name for name, value in vars(module).items() if _is_callable(name, value)]
        near = difflib.get_close_matches(code.name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"callables: {', '.join(known) or 'none'}"
        raise ModelError(f"{code.place} has no {code.name or 'name behind the colon'}; {hint}")
    if isinstance(found, torch.nn.Module):
        raise ModelError(
            f"{code} is a network, not what makes one; write: def build(): return {code.name}"
        )
    if not callable(found):
        raise ModelError(f"{code} is not a callable but of type {type(found).__name__}")
    return found  # type: ignore[no-any-return]


@contextlib.contextmanager
def running(code: Code) -> Iterator[None]:
    """Run user code: its folder is on the path, and its prints go to standard error."""
    with _importable(_folder(code)), contextlib.redirect_stdout(sys.stderr):
        yield


def brought_modules() -> tuple[ModuleType, ...]:
    """The user's modules that other processes cannot find: files, and what these import nearby."""
    return tuple(
        module
        for name, module in list(sys.modules.items())
        if name.startswith(_PREFIX) or name in _brought
    )


def refuse(code: object, error: BaseException, folder: Path | None) -> NoReturn:
    """Report what a user's code raised, and where.

    Args:
        code: as the user names it.
        error: what was raised.
        folder: of the user's code, whose lines are named first; None names the last line.

    Raises:
        ModelError: always.
    """
    said = traceback.format_exception_only(error)[-1]
    what = shortened(" ".join(said.split()), limits.VALUE_CHARACTERS)
    what += _place(error, folder)
    if isinstance(error, ImportError) and "attempted relative import" in what:
        what += "; name a module of the package instead, such as package.module:build"
    raise ModelError(f"{code} raises {what}") from error


def folder_of(code: Code) -> Path | None:
    """The folder of a file. None for a module."""
    return _folder(code) if code.is_file else None


def _folder(code: Code) -> Path:
    return Path(code.place).resolve().parent if code.is_file else Path.cwd()


def _is_callable(name: str, value: Any) -> bool:
    return callable(value) and not name.startswith("_")


def _file(code: Code) -> ModuleType:
    path = Path(code.place)
    try:
        content = read_bytes(path, limits.CODE_BYTES)
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist, where {code.name} is to be") from None
    except (OSError, ValueError) as error:  # such as a folder's
        raise ModelError(f"{path} cannot be read ({one_line(error)})") from None
    path = path.resolve()
    stem = re.sub(r"\W", "_", path.stem)
    digest = digests.of_bytes(bytes(path) + b"\0" + content)
    name = f"{_PREFIX}{stem}_{digest[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ModelError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with running(code), torch.random.fork_rng():
            exec(compile(content, path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - what the user named, and allowed
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        refuse(code.place, error, path.parent)
    return module


def _module(code: Code) -> ModuleType:
    try:
        with running(code), torch.random.fork_rng():
            return importlib.import_module(code.place)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{code.place}.".startswith(f"{missing}."):
            refuse(code.place, error, None)
        near = difflib.get_close_matches(code.place, MODELS.names, n=1)
        hint = f"did you mean {near[0]}:{code.name}? " if near else ""
        raise ModelError(
            f"there is no module {missing}; {code.name} is to be in it; {hint}"
            "install it, or start in the folder that holds it"
        ) from None
    except (Exception, SystemExit) as error:
        refuse(code.place, error, None)


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """A folder is first on the path; modules of one name of another such folder are forgotten."""
    for name in [name for name, other in _brought.items() if other != folder]:
        sys.modules.pop(name, None)
        del _brought[name]
    before, entry = set(sys.modules), str(folder)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)
        for name in set(sys.modules) - before:
            top = sys.modules.get(name.partition(".")[0])
            if top is not None and _lies_in(top, folder):
                _brought[name] = folder


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Whether a module that is not part of a package was found in a folder itself."""
    spec = getattr(module, "__spec__", None)
    if spec is None or module.__name__.startswith(_PREFIX):
        return False
    if spec.submodule_search_locations is not None:
        return any(Path(place).parent == folder for place in spec.submodule_search_locations)
    return spec.origin is not None and Path(spec.origin).parent == folder


def _place(error: BaseException, folder: Path | None) -> str:
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    own = Path(__file__).parent
    lines = [
        (Path(frame.filename), frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if not Path(frame.filename).is_relative_to(own) and not frame.filename.startswith("<")
    ]
    theirs = [
        (path, line)
        for path, line in lines
        if folder is not None and path.is_relative_to(folder) and "site-packages" not in path.parts
    ]
    if not lines:
        return ""
    path, line = (theirs or lines)[-1]
    return f" ({path.name}, line {line})"
