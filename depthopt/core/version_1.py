"""Convert files of schema version 1 to the current schema.

There, operators and candidates were written out field by field, a skip's layers had fields of
their own, and 0 threads stood for an accelerator.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from depthopt.core.operators import AveragePooling, Convolution
from depthopt.core.shapes import Pair, Sides

T = TypeVar("T")

Where = tuple[str | int, ...]
"""The keys and places that lead to a part of a file."""


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """A convolution as version 1 wrote it. Poolings were written as convolutions too."""

    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True, slots=True)
class _Candidate:
    start: int
    end: int
    kind: str
    spec: ConvSpec | None
    activation: str | None
    kept: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    name: str
    spec: ConvSpec
    input_size: Pair
    output_size: Pair


@dataclass(frozen=True, slots=True)
class _Skip:
    branch: str
    projection: ConvSpec | None
    projection_name: str | None
    pool: ConvSpec | None
    pool_name: str | None


def upgraded(content: Any, where: Where = ()) -> Any:
    """Convert the content of a file, at any depth.

    Args:
        content: of the file, or of a part of it.
        where: that part is.

    Raises:
        ValueError: it is not what version 1 wrote; the message says where.
    """
    if isinstance(content, list):
        return [upgraded(element, (*where, i)) for i, element in enumerate(content)]
    if not isinstance(content, dict):
        return content
    for names, change in _CHANGES:
        if content.keys() >= names:
            return change(content, where)
    return {name: upgraded(value, (*where, name)) for name, value in content.items()}


def _candidate(content: dict[str, Any], where: Where) -> Any:
    old = _read(_Candidate, content, where)
    what = "identity" if old.spec is None else str(_convolution(old.spec))
    parts = [old.kind, f"{old.start}:{old.end}", what]
    if old.activation is not None:
        parts.append(old.activation)
    if old.kind == "merge":
        parts.append("of " + ",".join(map(str, old.kept)))
    return " ".join(parts)


def _block(content: dict[str, Any], where: Where) -> Any:
    old = _read(_Block, content, where)
    layout = {
        "in_channels": old.spec.in_channels,
        "input_size": old.input_size,
        "out_channels": old.spec.out_channels,
        "output_size": old.output_size,
    }
    return {
        "name": old.name,
        "operator": str(_convolution(old.spec)),
        "layout": layout,
        **_others(content, _Block),
    }


def _skip(content: dict[str, Any], where: Where) -> Any:
    old, branch = _read(_Skip, content, where), []
    if (pool := old.pool) is not None:
        pooling = AveragePooling(pool.in_channels, pool.kernel_size, pool.stride, pool.padding)
        branch.append({"name": old.pool_name, "operator": str(pooling)})
    if old.projection is not None:
        operator = str(_convolution(old.projection))
        branch.append({"name": old.projection_name, "operator": operator})
    return {**_others(content, _Skip), "operand": old.branch, "branch": branch}


def _conditions(content: dict[str, Any], _: Where) -> Any:
    return content | {"threads": content["threads"] or None}


def _convolution(old: ConvSpec) -> Convolution:
    return Convolution(**asdict(old))


def _read(kind: type[T], content: dict[str, Any], where: Where) -> T:
    """The fields of ``kind`` in some content, which may have more.

    Raises:
        ValueError: one of them is missing, or not what it should be.
    """
    try:
        old: T = _adapters()[kind].validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (*where, *first["loc"])))
        raise ValueError(f"{place}: {first['msg']}") from None
    return old


@cache
def _adapters() -> dict[type[Any], TypeAdapter[Any]]:
    """Readers of what changed, made once: a file holds thousands of candidates."""
    return {kind: TypeAdapter(kind) for kind in (_Candidate, _Block, _Skip)}


def _others(content: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """What is in some content beside the fields of ``kind``, which has changed since."""
    return {name: value for name, value in content.items() if name not in _names(kind)}


def _names(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind)}


_CHANGES: tuple[tuple[set[str], Callable[[dict[str, Any], Where], Any]], ...] = (
    (_names(_Candidate), _candidate),
    (_names(_Block), _block),
    (_names(_Skip), _skip),
    ({"runtime_version", "threads"}, _conditions),
)
"""What a value of the old version is told by, and what it is now."""
