"""Whether two networks take the same inputs: only then do their times compare."""

from collections.abc import Mapping

from depthopt.errors import UsageError

Shapes = Mapping[str, tuple[int | None, ...]]
"""Of a network's inputs, by name; None where a dimension is free."""


def require_one_size(name: str, shapes: Shapes) -> None:
    """Refuse a network that leaves more than the batch free: at which size would it be measured?

    Args:
        name: the network's, for the message.
        shapes: of its inputs.

    Raises:
        UsageError: a dimension behind the first is free.
    """
    if any(None in shape[1:] for shape in shapes.values()):
        raise UsageError(
            f"{name} takes {_text(shapes)}; only the batch may be free, export it at one size"
        )


def require_equal_inputs(names: tuple[str, str], baseline: Shapes, current: Shapes) -> None:
    """Refuse networks that cannot be fed with the same inputs.

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
            "networks of equal inputs compare"
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
