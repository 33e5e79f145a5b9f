"""Send a user's code to other processes together with what uses it.

Workers, on this machine or another, find neither a file's private module nor what it imported of
its folder. So the source of both is sent, and a worker's imports find it.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import cloudpickle

from depthopt.models.importing import brought_modules

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """A module as text.

    Attributes:
        path: of its file.
        text: of it, as bytes.
        is_package: whether other modules are inside it.
    """

    path: str
    text: bytes
    is_package: bool


class _Sent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules whose source was sent, by name."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The specification of a module that was sent."""
        del path, target
        if (source := self.sources.get(name)) is None:
            return None
        spec = importlib.util.spec_from_loader(name, self, is_package=source.is_package)
        if spec is not None:
            spec.origin, spec.has_location = source.path, True
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Let Python make it."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the source."""
        source = self.sources[module.__name__]
        text = source.text.decode(errors="replace")
        linecache.cache[source.path] = (len(text), None, text.splitlines(True), source.path)
        with contextlib.redirect_stdout(sys.stderr):
            exec(compile(source.text, source.path, "exec", dont_inherit=True), vars(module))  # noqa: S102 - ran where it comes from


_sent = _Sent()


def with_code(work: Callable[..., T]) -> Callable[..., T]:
    """Wrap a callable so that it can be sent to another process with the user's code it needs."""
    sources = {}
    for module in brought_modules():
        path = Path(module.__file__ or "")
        if path.suffix == ".py" and path.is_file():
            is_package = hasattr(module, "__path__")
            sources[module.__name__] = Source(str(path), path.read_bytes(), is_package)
    return _WithCode(work, sources) if sources else work


class _WithCode:
    """A callable, and the modules that have to exist before it is restored."""

    def __init__(self, work: Callable[..., Any], sources: dict[str, Source]) -> None:
        self._work, self._sources = work, sources

    def __call__(self, *arguments: Any) -> Any:
        return self._work(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._sources, cloudpickle.dumps(self._work))


def _restored(sources: dict[str, Source], work: bytes) -> Callable[..., Any]:
    if any(name not in sys.modules for name in sources):
        _sent.sources |= sources
        if _sent not in sys.meta_path:
            sys.meta_path.insert(0, _sent)
    found: Callable[..., Any] = pickle.loads(work)  # noqa: S301 - of the process that began this one
    return found
