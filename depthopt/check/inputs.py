"""Check that two networks take the same inputs, so that their times can be compared."""

from collections.abc import Mapping

from depthopt.errors import UsageError

Shapes = Mapping[str, tuple[int | None, ...]]
"""Shapes of a network's inputs, by name. A free dimension is None."""


def require_one_size(name: str, shapes: Shapes) -> None:
    """Refuse a network with a free dimension besides the batch: its size would be unknown.

    Args:
        name: the network's, for the message.
        shapes: of its inputs.

    Raises:
        UsageError: a dimension behind the first is free.
    """
    if any(None in shape[1:] for shape in shapes.values()):
        raise UsageError(
            f"{name} takes {_text(shapes)}; only the batch may be free; export it at one size"
        )


def require_equal_inputs(names: tuple[str, str], baseline: Shapes, current: Shapes) -> None:
    """Refuse networks that do not take the same inputs.

    The only input of a network may have another name, and a batch may be free.

    Args:
        names: of both networks, for the message.
        baseline: the one's inputs.
        current: the other's.

    Raises:
        UsageError: shapes, or names of several inputs, differ.
    """
    if not _alike(baseline, current):
        raise UsageError(
            f"{names[0]} takes {_text(baseline)}, {names[1]} takes {_text(current)}; only "
            "networks with equal inputs can be compared"
        )


def _alike(one: Shapes, other: Shapes) -> bool:
    if len(one) == len(other) == 1:
        pairs = list(zip(one.values(), other.values(), strict=True))
    elif set(one) == set(other):
        pairs = [(one[name], other[name]) for name in one]
    else:
        return False
    return all(
        len(a) == len(b) and all(m == n or None in {m, n} for m, n in zip(a, b, strict=True))
        for a, b in pairs
    )


def _text(shapes: Shapes) -> str:
    return ", ".join(
        f"{name} {'x'.join('?' if n is None else str(n) for n in shape)}"
        for name, shape in shapes.items()
    )
