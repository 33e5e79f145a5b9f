"""Find what a network does only in training, which tracing in evaluation mode would lose."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from depthopt.errors import ModelError
from depthopt.graph.in_place import statement

ARGUMENT = "training"
"""Name of the mode argument of torch's functions, such as ``F.dropout``."""


class FollowsTraining(nn.Module):
    """A function whose argument ``training`` is the module's own mode.

    Attributes:
        function: such as ``F.dropout``.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The function of these arguments, in this mode."""
        return self.function(*args, **kwargs, training=self.training)

    def extra_repr(self) -> str:
        """The function's name."""
        return self.function.__name__


@contextlib.contextmanager
def reads_of_training(now: Callable[[], str]) -> Iterator[set[str]]:
    """Collect what ``now`` returns each time that a module's ``training`` is read."""
    found: set[str] = set()

    def read(module: nn.Module) -> bool:
        found.add(now())
        mode: bool = vars(module)[ARGUMENT]
        return mode

    def write(module: nn.Module, mode: bool) -> None:
        vars(module)[ARGUMENT] = mode

    setattr(nn.Module, ARGUMENT, property(read, write))
    try:
        yield found
    finally:
        delattr(nn.Module, ARGUMENT)


Traced = tuple[nn.Module, fx.Graph]


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between the graphs in training mode and in evaluation mode.

    Attributes:
        first: the first node that does in more than its argument ``training``; None if none does.
        following: the nodes of the graph in evaluation mode that differ in that argument alone.
        more_outputs: whether there are further outputs in training.
    """

    first: fx.Node | None
    following: list[fx.Node] = field(default_factory=list)
    more_outputs: bool = False


def difference(evaluation: Traced, training: Traced) -> Difference:
    """Compare two graphs of one network, node by node.

    Args:
        evaluation: the network and its graph in evaluation mode.
        training: those in training mode; outputs beside the first, such as those of auxiliary
            classifiers, are taken out of the graph, unless evaluation mode has several too.
    """
    (model, evaluated), (copy, trained) = evaluation, training
    several = _first_part(_output(evaluated).args[0]) is not None
    more_outputs = not several and _leave_first_output(trained)
    place: dict[fx.Node, int] = {}
    following: list[fx.Node] = []
    others = list(trained.nodes)
    for i, (one, other) in enumerate(zip(evaluated.nodes, others, strict=False)):
        place[one] = place[other] = i
        mine, its = (_arguments(node, place) for node in (one, other))
        if (one.op, one.target) != (other.op, other.target):
            if not _same_constant((model, one), (copy, other)):
                return Difference(other)
        elif mine != its:
            if not _differ_in_mode(one, mine, its):
                return Difference(other)
            following.append(one)
    if len(others) != len(evaluated.nodes):
        return Difference(others[-1])
    return Difference(None, following, more_outputs)


def follow_training(network: fx.GraphModule, nodes: list[fx.Node]) -> None:
    """Let calls of functions that take ``training`` take it from the network's mode.

    Args:
        network: changed in place.
        nodes: the calls.
    """
    for node in nodes:
        if not callable(node.target):
            continue
        arguments = _by_name(node)
        del arguments[ARGUMENT]
        name = f"{node.name}_in_training"
        network.add_submodule(name, FollowsTraining(node.target).train(network.training))
        node.op, node.target, node.args, node.kwargs = "call_module", name, (), arguments


def refuse(node: fx.Node, model: nn.Module) -> ModelError:
    """The error for a network that does something else in training."""
    return ModelError(
        f"{type(model).__name__} does something else in training from {statement(node)} on, which "
        "finetuning would lose; put what depends on the mode into a module of its own, without "
        "convolutions"
    )


def _output(graph: fx.Graph) -> fx.Node:
    found: fx.Node = next(iter(reversed(graph.nodes)))
    return found


def _leave_first_output(graph: fx.Graph) -> bool:
    """Take out further outputs, and what only they need; whether there were any."""
    output = _output(graph)
    value = output.args[0]
    while (found := _first_part(value)) is not None:
        value = found
    if value is not output.args[0]:
        output.args = (value,)
        for node in reversed(graph.nodes):
            if not node.users and node.op not in {"placeholder", "output"}:
                graph.erase_node(node)
        return True
    return False


def _first_part(value: Any) -> Any:
    """What comes first in an output of several; None of one that is not of several."""
    if isinstance(value, fx.Node):
        named = isinstance(value.target, type) and issubclass(value.target, tuple)
        return next(iter((*value.args, *value.kwargs.values())), None) if named else None
    if isinstance(value, (tuple, list, dict)) and value:
        return next(iter(value.values() if isinstance(value, dict) else value))
    return None


def _same_constant(one: tuple[nn.Module, fx.Node], other: tuple[nn.Module, fx.Node]) -> bool:
    """Whether both read a tensor, of one value, that was made as the network was traced.

    On the meta device, where tensors have no values, of one shape.
    """
    if any(node.op != "get_attr" for _, node in (one, other)):
        return False
    mine, its = (getattr(model, str(node.target), None) for model, node in (one, other))
    if not isinstance(mine, Tensor) or not isinstance(its, Tensor):
        return False
    if mine.is_meta:
        return mine.shape == its.shape
    return torch.equal(mine, its)


def _arguments(node: fx.Node, place: dict[fx.Node, int]) -> dict[str, Any]:
    """By name or number, nodes by their places."""
    named = _by_name(node)
    return {
        key: fx.map_arg(value, lambda node: f"%{place.get(node, -1)}")
        for key, value in named.items()
    }


def _by_name(node: fx.Node) -> dict[str, Any]:
    """The arguments by name; those of methods, and of functions without names, by number."""
    if node.op == "call_function" and callable(node.target):
        try:
            signature = inspect.signature(node.target)
            if not any(p.kind in _MANY for p in signature.parameters.values()):
                return dict(signature.bind(*node.args, **node.kwargs).arguments)
        except (TypeError, ValueError):
            pass
    return {str(i): value for i, value in enumerate(node.args)} | dict(node.kwargs)


_MANY = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def _differ_in_mode(node: fx.Node, one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a function's argument ``training`` is all that differs."""
    if node.op != "call_function" or one.keys() != other.keys():
        return False
    unlike = {key for key in one if one[key] != other[key]}
    return unlike == {ARGUMENT} and one[ARGUMENT] is False and other[ARGUMENT] is True
