"""Where a network and what was traced of it part, in words."""

import contextlib
from typing import Any

import torch
from torch import Tensor, fx, nn

from depthopt.core.inputs import Inputs
from depthopt.graph.examples import in_order
from depthopt.graph.in_place import LINE
from depthopt.graph.runs import alike, cloned, repeatable_random, run


def first_difference(network: nn.Module, traced: fx.GraphModule, inputs: Inputs) -> str:
    """Where a network and what was traced of it part, in words."""
    nodes = [node for node in traced.graph.nodes if node.op == "call_module"]
    recorder = _Calls(traced)
    with torch.no_grad(), repeatable_random(traced):
        recorder.run(*in_order(traced, cloned(inputs)))
    calls = _calls(network, {str(node.target) for node in nodes}, inputs)
    last = "the input"
    known = {name for name, _, _ in calls}
    its = [call for call in recorder.calls if call[0].target in known]
    for (name, given, gave), (node, its_given, its_gave) in zip(calls, its, strict=False):
        what = f"{type(network.get_submodule(name)).__name__} {name}"
        line = node.meta.get(LINE, "")
        at = f" ({line})" if line else ""
        if name != node.target:
            return f"{what} runs where tracing has {node.target}{at}"
        if not alike(given, its_given):
            between = _between(traced, last, name) or at
            return f"what reaches {what} from {last} on is something else{between}"
        if not alike(gave, its_gave):
            return f"{what} gives something else{at}: its code, a hook or its weights change"
        last = name
    if len(calls) != len(its):
        return f"modules run {len(calls)} times, {len(its)} times where traced; the last is {last}"
    return f"what follows {last} is something else{_between(traced, last, None)}"


def _between(traced: fx.GraphModule, begin: str, end: str | None) -> str:
    """The lines between two modules, in brackets."""
    lines: list[str] = []
    inside = begin == "the input"
    for node in traced.graph.nodes:
        if node.op == "call_module" and node.target == end:
            break
        if inside and node.op not in {"placeholder", "output"} and node.meta.get(LINE):
            lines.append(node.meta[LINE])
        inside = inside or node.target == begin
    return f" ({', '.join(dict.fromkeys(lines))})" if lines else ""


def _calls(network: nn.Module, names: set[str], inputs: Inputs) -> list[tuple[str, object, object]]:
    """Name, first argument and output of modules, in the order of their calls."""
    found: list[tuple[str, object, object]] = []
    pending: list[object] = []

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        pending.append(_copy(next(iter((*args, *kwargs.values())), None)))

    def after(name: str) -> Any:
        def hook(_: nn.Module, __: object, output: object) -> None:
            found.append((name, pending.pop(), _copy(output)))

        return hook

    for name, module in network.named_modules():
        if name in names:
            module.register_forward_pre_hook(before, with_kwargs=True, prepend=True)
            module.register_forward_hook(after(name))
    with contextlib.suppress(Exception):
        run(network, inputs)
    return found


class _Calls(fx.Interpreter):
    """Records the calls of modules."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.calls: list[tuple[fx.Node, object, object]] = []

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        if n.op != "call_module":
            return super().run_node(n)
        given = next(iter(n.all_input_nodes), None)
        argument = None if given is None else _copy(self.env[given])
        value = super().run_node(n)
        self.calls.append((n, argument, _copy(value)))
        return value


def _copy(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value
