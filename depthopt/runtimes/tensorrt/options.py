"""Options for building engines, in recipes and in measurements' conditions."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import TypeAdapter, ValidationError

from depthopt.core.clipped import clipped
from depthopt.core.numbers import Count, Whole
from depthopt.errors import UsageError

DTYPES = ("float32", "tf32", "float16")
"""``float32`` is exact, ``tf32`` rounds the inputs of convolutions to 10 bits of mantissa, and
``float16`` is the network converted beforehand: a strongly typed network computes in the types
that it is written in, and nothing else."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How TensorRT builds engines.

    TensorRT for RTX has a workspace limit alone: it compiles kernels where an engine is loaded.

    Attributes:
        optimization_level: 0 (the first kernel that runs) to 5 (all are compiled and
            compared); more takes longer to build.
        workspace_mib: most scratch memory, in MiB, that a layer's kernel may take; all that
            the device has if left out.
        version_compatible: engines also load in later releases of the same major version;
            they may be slower.
        timing_cache: the file that all builds share; one of the device and version in the
            user's cache folder if left out.
    """

    optimization_level: Annotated[Whole, Ge(0), Le(5)] = 3
    workspace_mib: Count | None = None
    version_compatible: bool = False
    timing_cache: Path | None = None


def parse(settings: Sequence[str]) -> BuildOptions:
    """Options from ``key=value`` texts.

    Raises:
        UsageError: a key that there is not, or a value that is not of its kind.
    """
    known = [field.name for field in fields(BuildOptions)]
    content = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"build setting {setting!r} is not of the form key=value")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise UsageError(f"unknown build setting {name}; {hint}")
        content[name] = value
    try:
        return TypeAdapter(BuildOptions).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"build setting {first['loc'][0]} is {clipped(first['input'])}: {first['msg']}"
        ) from None


def labelled(version: str, build: BuildOptions) -> str:
    """The version with the settings that change engines. Different ones never mix."""
    parts = [version]
    if build.optimization_level != BuildOptions().optimization_level:
        parts.append(f"level{build.optimization_level}")
    if build.workspace_mib is not None:
        parts.append(f"workspace{build.workspace_mib}")
    if build.version_compatible:
        parts.append("compatible")
    return "+".join(parts)


def numbers(version: str) -> tuple[int, ...]:
    """A version such as ``10.14.1.48.post1`` as its leading numbers."""
    found = []
    for part in version.split("."):
        if not part.isdecimal():
            break
        found.append(int(part))
    return tuple(found)
