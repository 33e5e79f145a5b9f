"""Where a traced attention writes how many heads it has."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import fx

from depthopt.core.operators import Attention
from depthopt.graph.constants import is_size

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
    reshapes = _reshapes_before(hidden)
    if reshapes is None or len(reshapes) != attention.layers or attention.biased:
        return None
    together = (3,) if attention.layers == 1 else ()
    known = [(*together, attention.heads, width) for width in (-1, attention.head_width)]
    if any(_sizes(each)[-len(known[0]) :] not in known for each in reshapes):
        return None
    if not _is_reshape(hidden) or hidden.meta["shape"][-1] != attention.hidden:
        return None
    found = tuple(Written(each, -2, 1) for each in reshapes)
    if _sizes(hidden)[-1] == -1:
        return found
    return (*found, Written(hidden, -1, attention.head_width))


def _reshapes_before(hidden: fx.Node) -> list[fx.Node] | None:
    """The reshapes behind the modules next before ``hidden``; None if one has none of its own.

    They are those of queries, keys and values: rotary positions reshape further behind.
    """
    found = list[fx.Node]()
    for module in next_before(hidden, lambda node: node.op == "call_module"):
        users = list(module.users)
        if len(users) != 1 or not _is_reshape(users[0]):
            return None
        found.append(users[0])
    return found


def next_before(node: fx.Node, is_wanted: Callable[[fx.Node], bool]) -> list[fx.Node]:
    """The wanted nodes that a tensor comes from, none of them by way of another."""
    found, seen, ahead = list[fx.Node](), {node}, [node]
    while ahead:
        each = ahead.pop()
        if each is not node and is_wanted(each):
            found.append(each)
            continue
        reads = each.all_input_nodes[:1] if each.op == "call_method" else each.all_input_nodes
        # Whatever else a method reads are sizes.
        new = [one for one in reads if one not in seen and not is_size(one)]
        seen.update(new)
        ahead += new
    return found


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
