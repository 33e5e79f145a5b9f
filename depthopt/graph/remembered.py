"""Find state that a network keeps from one run to the next, besides its weights."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from depthopt.errors import ModelError
from depthopt.graph.plain import OWN

Scalar = bool | int | float | str | None

_ABSENT = object()

_DEEPEST = 4
"""How deep in what a module holds its state is looked for."""


def state_of(network: nn.Module) -> dict[str, object]:
    """What modules hold beside weights that can count or switch, and how often tensors changed."""
    found: dict[str, object] = {}
    for path, module in network.named_modules():
        prefix = f"{path}." if path else ""
        held = vars(module)
        for name, value in held.items():
            if name not in OWN:
                found |= {prefix + name + at: one for at, one in _scalars(value, _DEEPEST)}
        for tensors in (held["_parameters"], held["_buffers"]):
            for name, tensor in tensors.items():
                if tensor is not None:
                    found[prefix + name] = tensor._version  # noqa: SLF001 - torch's own count
    return found


def _scalars(value: object, depth: int) -> Iterator[tuple[str, Scalar]]:
    """Numbers, words and lengths in what a module holds, by where they are."""
    if value is None or isinstance(value, (bool, int, float, str)):
        yield "", value
        return
    if depth == 0 or isinstance(value, (Tensor, nn.Module, type)) or callable(value):
        return
    parts: Mapping[Any, object] = {}
    if isinstance(value, dict):
        parts = {f"[{key!r}]": part for key, part in value.items()}
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield " (its length)", len(value)
        if not isinstance(value, (set, frozenset)):
            parts = {f"[{i}]": part for i, part in enumerate(value)}
    elif hasattr(value, "__dict__"):
        parts = {f".{name}": part for name, part in vars(value).items()}
    for at, part in parts.items():
        yield from ((at + inner, one) for inner, one in _scalars(part, depth - 1))


def changed(before: dict[str, object], after: dict[str, object]) -> str:
    """The name of something that changed."""
    names = before.keys() | after.keys()
    return min(name for name in names if before.get(name, _ABSENT) != after.get(name, _ABSENT))


def check_settled(
    before: dict[str, object], first: dict[str, object], second: dict[str, object]
) -> None:
    """Refuse a network that changes at every run.

    Raises:
        ModelError: it did; what it changes is named.
    """
    if second != first:
        name = changed(first, second)
        raise ModelError(
            f"{name} changes whenever the network runs, in evaluation mode too (from "
            f"{before.get(name)} to {first.get(name)} to {second.get(name)}); a traced network "
            "would not change it"
        )
