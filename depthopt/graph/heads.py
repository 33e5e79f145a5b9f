"""Where a traced attention writes how many heads it has."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx

from depthopt.core.operators import Attention

_RESHAPING = frozenset({"reshape", "view"})


@dataclass(frozen=True, slots=True)
class Written:
    """A size in a node's arguments that follows from the number of heads.

    Attributes:
        node: the node, a ``reshape``.
        place: of the size among the sizes, counted from the last: -1, -2, ...
        each: what it is for each head.
    """

    node: fx.Node
    place: int
    each: int

    def set(self, heads: int) -> None:
        """Write another number of heads."""
        tensor, *sizes = self.node.args
        nested = len(sizes) == 1 and isinstance(sizes[0], (tuple, list))
        flat = list(sizes[0]) if nested else list(sizes)  # type: ignore[arg-type] # nested says so
        flat[self.place] = heads * self.each
        self.node.args = (tensor, tuple(flat)) if nested else (tensor, *flat)


def heads_written(hidden: fx.Node, attention: Attention) -> tuple[Written, ...] | None:
    """Every place where an attention's heads are written. None if that cannot be told.

    Args:
        hidden: the node that the attention's last layer reads: a ``reshape`` of what the product of
            queries, keys and values gave.
        attention: what it computes.
    """
    before = _reshape_before(hidden)
    if before is None or attention.layers != 1 or attention.biased:
        return None
    sizes = _sizes(before)[-3:]
    if sizes not in [(3, attention.heads, width) for width in (-1, attention.head_width)]:
        return None
    if not _is_reshape(hidden) or hidden.meta["shape"][-1] != attention.hidden:
        return None
    found = (Written(before, -2, 1),)
    if _sizes(hidden)[-1] == -1:
        return found
    return (*found, Written(hidden, -1, attention.head_width))


def _reshape_before(hidden: fx.Node) -> fx.Node | None:
    """The reshape of queries, keys and values together, on the way back from ``hidden``.

    It is the last one on the way: rotary positions may reshape, too.
    """
    found, start = None, hidden.all_input_nodes[0] if _is_reshape(hidden) else hidden
    for node in _back(start):
        found = node if _is_reshape(node) else found
    return found


def _back(node: fx.Node) -> Iterator[fx.Node]:
    """A node and those that it reads first, one after another, up to the first module's."""
    while node.op != "call_module" and node.all_input_nodes:
        yield node
        node = node.all_input_nodes[0]


def _is_reshape(node: fx.Node) -> bool:
    return node.op == "call_method" and node.target in _RESHAPING


def _sizes(node: fx.Node) -> tuple[object, ...]:
    """The sizes that a reshape is given; none of any other node."""
    if not _is_reshape(node):
        return ()
    sizes = node.args[1:]
    match sizes:
        case ((tuple() | list()) as nested,):
            return tuple(nested)
    return tuple(sizes)
