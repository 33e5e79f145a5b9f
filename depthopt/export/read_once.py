"""Let torch's exporter work out once per process what it works out at every call.

It parses ONNX Script's 500 operators and goes through all that torch has registered, twice, which
takes a third of the time of an export and gives the same each time. Torch has no public way to keep
either: these are private names of torch 2.6 to 2.14, and one that is gone is left alone.
"""

import contextlib
import functools
import importlib
from collections.abc import Iterator
from typing import Any

_REGISTRY = "torch.onnx._internal.exporter._registration"
_LISTING = "_collect_all_valid_cia_ops"
_WHO_LISTS = ("torch.export.exported_program", "torch.export.decomp_utils")


@contextlib.contextmanager
def read_once() -> Iterator[None]:
    """Let exports within this context share what they work out."""
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in _kept()]
    for owner, name, kept in _kept():
        setattr(owner, name, kept)
    try:
        yield
    finally:
        for owner, name, own in before:
            setattr(owner, name, own)


@functools.cache
def _kept() -> tuple[tuple[Any, str, Any], ...]:
    """Owner and name of each function, and the same one with a memory."""
    found: list[tuple[Any, str, Any]] = []
    registry: Any = getattr(_module(_REGISTRY), "ONNXRegistry", None)
    if hasattr(registry, "from_torchlib"):
        read = functools.cache(registry.from_torchlib)
        found.append((registry, "from_torchlib", staticmethod(read)))
    listing = ((module, getattr(module, _LISTING, None)) for module in map(_module, _WHO_LISTS))
    found += [(module, _LISTING, functools.cache(one)) for module, one in listing if one]
    return tuple(found)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
