"""Files of schema version 1, as this version writes them.

There, operators and candidates were written out field by field, a skip's layers had fields of
their own, and 0 threads stood for an accelerator.
"""

from collections.abc import Callable
from typing import Any

from depthopt.core.operators import AveragePooling, Convolution


def upgraded(content: Any) -> Any:
    """The content of a file, at any depth.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is not what version 1 wrote.
    """
    if isinstance(content, list):
        return [upgraded(element) for element in content]
    if not isinstance(content, dict):
        return content
    for names, change in _CHANGES:
        if content.keys() >= names:
            return change(content)
    return {name: upgraded(value) for name, value in content.items()}


def _candidate(old: dict[str, Any]) -> str:
    what = "identity" if old["spec"] is None else str(_convolution(old["spec"]))
    parts = [old["kind"], f"{old['start']}:{old['end']}", what]
    if old["activation"] is not None:
        parts.append(old["activation"])
    if old["kind"] == "merge":
        parts.append("of " + ",".join(map(str, old["kept"])))
    return " ".join(parts)


def _conditions(old: dict[str, Any]) -> dict[str, Any]:
    return old | {"threads": old["threads"] or None}


def _block(old: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in old.items() if name not in _BLOCK}
    layout = {
        "in_channels": old["spec"]["in_channels"],
        "input_size": old["input_size"],
        "out_channels": old["spec"]["out_channels"],
        "output_size": old["output_size"],
    }
    return {
        "name": old["name"],
        "operator": str(_convolution(old["spec"])),
        "layout": layout,
        **kept,
    }


def _skip(old: dict[str, Any]) -> dict[str, Any]:
    branch = []
    if (pool := old["pool"]) is not None:
        pooling = AveragePooling(
            pool["in_channels"], *map(tuple, (pool["kernel_size"], pool["stride"], pool["padding"]))
        )
        branch.append({"name": old["pool_name"], "operator": str(pooling)})
    if (projection := old["projection"]) is not None:
        operator = str(_convolution(projection))
        branch.append({"name": old["projection_name"], "operator": operator})
    kept = {name: value for name, value in old.items() if name not in {*_SKIP, "branch"}}
    return {**kept, "operand": old["branch"], "branch": branch}


def _convolution(old: dict[str, Any]) -> Convolution:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in old.items()}
    return Convolution(**fields)


_BLOCK = {"name", "spec", "input_size", "output_size"}
_SKIP = {"projection", "projection_name", "pool", "pool_name"}

_CHANGES: tuple[tuple[set[str], Callable[[dict[str, Any]], Any]], ...] = (
    ({"start", "end", "kind", "spec", "activation", "kept"}, _candidate),
    (_BLOCK, _block),
    (_SKIP, _skip),
    ({"runtime_version", "threads"}, _conditions),
)
"""What a value of the old version is told by, and what it is now."""
