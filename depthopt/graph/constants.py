"""What in a network depends on no image."""

from collections.abc import Iterable

from torch import fx


def constants(nodes: Iterable[fx.Node]) -> frozenset[fx.Node]:
    """The nodes that depend on no image: weights, sizes, and what is made of them."""
    found = set[fx.Node]()
    for node in nodes:  # in the order of execution
        is_call = node.op in {"call_function", "call_method"}
        made = is_call and found.issuperset(node.all_input_nodes)
        if node.op == "get_attr" or made or is_size(node):
            found.add(node)
    return frozenset(found)


def is_size(node: fx.Node) -> bool:
    """Whether a node only asks for a tensor's size or type, which no replacement changes."""
    if node.target is getattr:
        return node.args[1] in {"shape", "ndim", "dtype", "device"}
    return node.op == "call_method" and node.target in {"size", "dim"}
