"""Make in-place operations of a traced network out-of-place, and find what each writes.

What a statement such as ``x.relu_()`` or ``self.act(x)`` does is lost in a graph of values if its
result is not assigned: later nodes read ``x``, not the result. Which tensors an operation writes
is therefore observed, by torch's own count of writes, and what is read after it is rerouted.
"""

import functools
import inspect
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, fx, nn

from depthopt.errors import ModelError

IN_PLACE: dict[object, Callable[..., Any]] = {
    getattr(operator, f"i{name.rstrip('_')}"): getattr(operator, name)
    for name in (
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "matmul",
        "and_",
        "or_",
        "xor",
    )
}
"""The operators of statements such as ``x += y``, and those that make new values."""

LINE = "line"
"""Key in a node's ``meta`` of the line of code that it comes from."""


@dataclass(frozen=True, slots=True)
class Write:
    """A node that writes into the value of an earlier one.

    Attributes:
        node: the node.
        written: an argument whose value it changes.
        same: the other nodes whose value is that tensor.
        parts: those whose value shares some of its memory.
        returned: whether the tensor is also the node's own value.
        alike: whether all tensors that the node reads have one type.
    """

    node: fx.Node
    written: fx.Node
    same: tuple[fx.Node, ...]
    parts: tuple[fx.Node, ...]
    returned: bool
    alike: bool


class Observer(fx.Interpreter):
    """Runs a traced network and records what its nodes write.

    Attributes:
        writes: so far, in order.
        shapes: of the nodes' values that are tensors.
    """

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.writes: list[Write] = []
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        before = {node: _writes_so_far(each) for node, each in self.env.items()}
        value = super().run_node(n)
        changed = [node for node in before if _writes_so_far(self.env[node]) != before[node]]
        if not changed and _is_to_write(self.submodules, n):
            # Dropout in place writes in training alone; evaluated, it returns what it was given.
            changed = [node for node in before if _overlap(self.env[node], value)]
        while changed:
            self.writes.append(write := self._write(n, value, changed))
            told = {write.written, *write.same, *write.parts}
            # Views of one tensor count its writes together: what is left may be untouched.
            changed = [node for node in changed if node not in told and node in n.all_input_nodes]
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
        return value

    def _write(self, node: fx.Node, value: Any, changed: Sequence[fx.Node]) -> Write:
        read = node.all_input_nodes
        written = min(changed, key=lambda n: (_view(self.env[n]) != _view(value), n not in read))
        tensor, others = self.env[written], [n for n in changed if n is not written]
        same = tuple(n for n in others if _view(self.env[n]) == _view(tensor) != ())
        parts = tuple(n for n in others if n not in same and _overlap(self.env[n], tensor))
        types = {each.dtype for n in read for each in _tensors(self.env[n])}
        returned = _view(value) == _view(tensor) != ()
        return Write(node, written, same, parts, returned, len(types) == 1)


def make_out_of_place(network: fx.GraphModule, writes: list[Write]) -> None:
    """Let nodes make new values instead of writing into those of others.

    Args:
        network: its graph is changed in place, and has to be compiled again.
        writes: as observed.

    Raises:
        ModelError: a node writes into a weight, or into part of a tensor that is read later.
    """
    place = {node: i for i, node in enumerate(network.graph.nodes)}
    now: dict[fx.Node, fx.Node] = {}

    def later(write: Write, values: Iterable[fx.Node]) -> list[tuple[fx.Node, fx.Node]]:
        """What reads values, as things stand now, after the write."""
        found = [now.get(value, value) for value in values]
        return [(v, user) for v in found for user in v.users if place[user] > place[write.node]]

    for write in writes:
        node, written = write.node, now.get(write.written, write.written)
        if written.op == "get_attr":
            raise ModelError(
                f"{statement(node)} writes into {written.target} whenever the network runs; "
                "a network whose weights change as it runs cannot be traced"
            )
        if later(write, write.parts):
            raise ModelError(
                f"{statement(node)} writes into a tensor that is read elsewhere through a view; "
                "write it without changing a tensor in place"
            )
        becomes: fx.Node = node
        if not (write.returned and write.alike and _is_made_out_of_place(network, node)):
            with network.graph.inserting_before(node):
                clone = network.graph.call_method("clone", (written,))
            clone.meta |= {key: written.meta[key] for key in ("shape",) if key in written.meta}
            place[clone] = place[node]
            _replace(node, written, clone)
            becomes = node if write.returned else clone
        for value, user in later(write, (write.written, *write.same)):
            user.replace_input_with(value, becomes)
        now |= dict.fromkeys((write.written, *write.same), becomes)
    for node in network.graph.nodes:
        node.target = IN_PLACE.get(node.target, node.target)  # of numbers, which nothing writes to


def _replace(node: fx.Node, written: fx.Node, clone: fx.Node) -> None:
    """Let the node write into a clone."""
    if "out" in node.kwargs:
        node.kwargs = {**node.kwargs, "out": clone}
    else:
        node.replace_input_with(written, clone)


def statement(node: fx.Node) -> str:
    """A node in words, with the line of code that it comes from."""
    if node.op == "output":
        return "its output"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
    what = f"module {name}" if node.op == "call_module" else name
    return f"{what} ({node.meta[LINE]})" if node.meta.get(LINE) else what


def _is_made_out_of_place(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether the operation was replaced by its like that makes a new tensor."""
    if "out" in node.kwargs:
        node.kwargs = {name: v for name, v in node.kwargs.items() if name != "out"}
        return True
    if node.op == "call_module" and not node.kwargs.get("inplace"):
        return _without_attribute(network.get_submodule(str(node.target)))
    if node.op == "call_module":
        node.kwargs = {name: v for name, v in node.kwargs.items() if name != "inplace"}
        return True
    if node.op == "call_method":
        plain = str(node.target).removesuffix("_")
        known = plain != node.target and hasattr(Tensor, plain)
        node.target = plain if known else node.target
        return known
    if node.target in IN_PLACE:
        node.target = IN_PLACE[node.target]
        return True
    return _without_inplace(node) or _without_underscore(node)


def _is_to_write(modules: Mapping[str, nn.Module], node: fx.Node) -> bool:
    """Whether an argument or an attribute says that the node may work in place."""
    if node.kwargs.get("inplace"):
        return True
    if node.op == "call_module":
        return bool(getattr(modules[str(node.target)], "inplace", False))
    return (
        node.op == "call_function"
        and _place_of_inplace(node.target) in range(len(node.args))
        and bool(node.args[_place_of_inplace(node.target)])
    )


@functools.cache
def _place_of_inplace(function: object) -> int:
    """The number of a function's parameter ``inplace``; -1 if it has none."""
    try:
        names = list(inspect.signature(function).parameters) if callable(function) else []
    except (TypeError, ValueError):
        return -1
    return names.index("inplace") if "inplace" in names else -1


def _without_attribute(module: nn.Module) -> bool:
    own = type(module).__module__.startswith("torch.nn.") and hasattr(module, "inplace")
    if own:
        setattr(module, "inplace", False)  # noqa: B010 - no attribute of all modules
    return own


def _without_inplace(node: fx.Node) -> bool:
    place = _place_of_inplace(node.target)
    if place < 0:
        return False
    if place < len(node.args):
        node.args = (*node.args[:place], False, *node.args[place + 1 :])
    else:
        node.kwargs = {name: v for name, v in node.kwargs.items() if name != "inplace"}
    return True


def _without_underscore(node: fx.Node) -> bool:
    name = getattr(node.target, "__name__", "")
    plain = name.removesuffix("_")
    if plain == name:
        return False
    for home in (F, torch):
        if getattr(home, name, None) is node.target and hasattr(home, plain):
            node.target = getattr(home, plain)
            return True
    return False


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _tensors(each)


def _writes_so_far(value: object) -> tuple[object, ...]:
    if isinstance(value, Tensor):
        return value._version, value.shape  # noqa: SLF001 - torch's own count
    return tuple((tensor._version, tensor.shape) for tensor in _tensors(value))  # noqa: SLF001


def _view(value: object) -> tuple[object, ...]:
    """Which memory a tensor is, and how it reads it; nothing of what is not one tensor."""
    if not isinstance(value, Tensor):
        return ()
    memory = value.untyped_storage()._cdata  # noqa: SLF001 - tells those on the meta device apart
    return memory, value.storage_offset(), value.shape, value.stride(), value.dtype


def _overlap(value: object, written: object) -> bool:
    return any(
        one.untyped_storage()._cdata == other.untyped_storage()._cdata  # noqa: SLF001
        and one.storage_offset() < _end(other)
        and other.storage_offset() < _end(one)
        for one in _tensors(value)
        for other in _tensors(written)
    )


def _end(tensor: Tensor) -> int:
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return int(tensor.storage_offset() + sum((size - 1) * step for size, step in steps) + 1)
