"""Read text, JSON and YAML files: always as UTF-8, and within limits.

What is not read is a ``ValueError`` whose message says why, without the file's name: who reads the
file says that, and what to do.
"""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from depthopt.core import limits
from depthopt.core.clipped import clipped, one_line


def read_bytes(path: Path, most: int) -> bytes:
    """A file's content.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more than ``most`` bytes.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)  # of a device there is no end
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def read_text(path: Path, most: int) -> str:
    """A file's text, whatever the system's own encoding; a byte order mark is left out.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more than ``most`` bytes, or is not UTF-8.
    """
    return read_bytes(path, most).decode("utf-8-sig")


def read_json(path: Path, most: int = limits.ARTEFACT_BYTES) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or too much of it; see ``parse_json``.
    """
    return parse_json(read_text(path, most))


def parse_json(text: str) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: it is not JSON, is nested too deeply, holds too many values, or a mapping names
            a key twice.
    """
    if text.count("[") + text.count("{") > limits.CONTAINERS:
        raise _Refused(f"it holds more than {limits.CONTAINERS:,} lists and mappings")
    try:
        value = json.loads(text, object_pairs_hook=_without_doubles)
    except RecursionError:
        raise _Refused(_TOO_DEEP) from None
    _require_shallow(value)
    return value


def parse_yaml(text: str) -> Any:
    """Parse a YAML text with YAML's own types only. Python objects are never made.

    Raises:
        ValueError: it is not YAML, is nested too deeply, stands for too much by its aliases, or a
            mapping names a key twice; the message says on which line.
    """
    try:
        return _Loader(text).get_single_data()
    except _Refused:
        raise
    except RecursionError:
        raise _Refused(_TOO_DEEP) from None
    except yaml.YAMLError as error:
        raise ValueError(one_line(error)) from None
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        # Constructors of dates, numbers and the like raise whatever their code comes to.
        raise ValueError(f"a value does not fit its type: {error}") from None


class _Refused(ValueError):  # noqa: N818 - named for what is the case
    """What is YAML or JSON, but too much of it or with a key twice."""


_HOLDERS = (dict, list)
_TOO_DEEP = f"it is nested more than {limits.NESTING} deep"


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set[str]()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"the key {clipped(key)} comes twice")
            seen.add(key)
    return found


def _require_shallow(value: Any) -> None:
    level = [value] if isinstance(value, _HOLDERS) else []
    for _ in range(limits.NESTING):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, _HOLDERS)
        ]
        if not level:
            return
    raise _Refused(_TOO_DEEP)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, within limits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Count the aliases."""
        if self.check_event(yaml.AliasEvent):
            self._aliases += 1
            if self._aliases > limits.ALIASES:
                raise _Refused(f"it has more than {limits.ALIASES} aliases")
        return super().compose_node(parent, index)

    def get_single_node(self) -> Any:
        """Measure the whole before anything is made of it."""
        node = super().get_single_node()
        if node is not None:
            _size(node, {}, 1)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that comes twice; what ``<<`` brings in may be named again."""
        first = dict[Any, int]()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            name = self.construct_object(key)
            if name in first:
                raise _Refused(
                    f"the key {clipped(name)} on line {line} is on line {first[name]} already"
                )
            first[name] = line
        return super().construct_mapping(node, deep=deep)


def _size(node: Any, known: dict[int, int | None], depth: int) -> int:
    """Characters and values that a node stands for, its aliases written out.

    Args:
        node: of the tree, in which an alias is its anchor's own node.
        known: sizes of nodes that were met; None while they are being measured.
        depth: of the node.
    """
    if depth > limits.NESTING:
        raise _Refused(_TOO_DEEP)
    if isinstance(node, yaml.ScalarNode):
        return len(node.value) + 1
    place = id(node)
    if place in known:
        size = known[place]
        if size is None:
            raise _Refused(f"what begins on line {node.start_mark.line + 1} holds itself")
        return size
    known[place] = None
    inner = (
        node.value if isinstance(node, yaml.SequenceNode) else [n for p in node.value for n in p]
    )
    size = 1 + sum(_size(each, known, depth + 1) for each in inner)
    if size > limits.RECIPE_BYTES:
        raise _Refused(f"its aliases stand for more than {limits.RECIPE_BYTES:,} characters")
    known[place] = size
    return size
