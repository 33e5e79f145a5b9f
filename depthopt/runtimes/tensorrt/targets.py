"""GPUs that engines are built for ahead of time, by their compute capability."""

import re
from collections.abc import Sequence

from depthopt.core.clipped import clipped
from depthopt.errors import UsageError
from depthopt.runtimes.tensorrt.library import Library
from depthopt.runtimes.tensorrt.options import numbers

PORTABLE = "portable"
"""Name that stands for all targets: every GPU of compute capability 8.0 and above that the library
knows. https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html"""

_PORTABLE_FROM = (8, 0)
"""Least compute capability of a portable engine: Turing, 7.5, must be named."""


def parsed(given: Sequence[str], library: Library) -> tuple[str, ...]:
    """Check targets, and return them in the library's order, or only ``portable``.

    Args:
        given: such as ``["sm89", "sm120"]``; in capitals too.
        library: what builds for them.

    Raises:
        UsageError: there is none, one twice, or one that the library does not know; or one beside
            ``portable``.
    """
    known = f"known: {', '.join(library.targets)}, or {PORTABLE} alone"
    names = [target.lower() for target in given]
    for name in names:
        if name not in {*library.targets, PORTABLE}:
            raise UsageError(f"{library.title} cannot build for target {clipped(name)}; {known}")
        if names.count(name) > 1:
            raise UsageError(f"target {name} is given twice; give each once")
    if not names or (PORTABLE in names and len(names) > 1):
        raise UsageError(f"expected targets, or {PORTABLE} alone, got {names}; {known}")
    return (PORTABLE,) if names == [PORTABLE] else tuple(t for t in library.targets if t in names)


def cover(targets: Sequence[str], capability: str | None) -> bool:
    """Whether an engine for these targets runs on a GPU of this compute capability, such as 8.9."""
    if tuple(targets) != (PORTABLE,):
        return capability in [capability_of(target) for target in targets]
    return capability is not None and numbers(capability) >= _PORTABLE_FROM


def capability_of(target: str) -> str:
    """A target's compute capability: 8.9 for ``sm89``."""
    found = re.fullmatch(r"sm(\d+)(\d)", target)
    return f"{found[1]}.{found[2]}" if found else ""
