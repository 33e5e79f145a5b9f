"""The proof that a traced or rewritten network is the one that it was made of."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from depthopt.core.inputs import Inputs, InputSize, called, first, moved, size_text, tensors_of
from depthopt.errors import ModelError
from depthopt.graph.examples import batch_like, in_order
from depthopt.graph.in_place import LINE, Observer, statement
from depthopt.graph.original import copied, deepcopied

EXAMPLES = 2
"""Size of the batch that networks are compared on."""

EXACT = 1e-10
"""Relative difference in float64 below which networks differ by rounding alone."""

Scalar = bool | int | float | str | None

_ABSENT = object()

_DEEPEST = 4
"""How deep in what a module holds its state is looked for."""

_OWN = frozenset(vars(nn.Module()))
"""What torch itself keeps in a module."""


@dataclass(frozen=True, slots=True)
class Original:
    """What a network gives for one made-up batch.

    Attributes:
        inputs: seeded, in the network's type.
        output: of the network in evaluation mode.
    """

    inputs: Inputs
    output: Tensor

    @classmethod
    def of(cls, network: nn.Module, input_size: InputSize, *, seed: int = 0) -> "Original":
        """Run a network, in evaluation mode, whose class may be anybody's.

        Args:
            network: a copy: what it does to itself stays.
            input_size: of its inputs.
            seed: of the batch.

        Raises:
            ModelError: it refuses the input size, does not return one tensor, or changes itself
                whenever it runs.
        """
        inputs = batch_like(network, input_size, EXAMPLES, seed=seed)
        before = _state(network)
        output = one_tensor(network, _run_or_refuse(network, inputs, input_size))
        after = _state(network)
        if after != before:
            again = _run_or_refuse(network, inputs, input_size)
            _refuse_change(before, after, _state(network))
            if not alike(again, output):
                raise ModelError(
                    f"{type(network).__name__} gives something else when it runs again on the "
                    f"same inputs; it remembers {_changed(before, after)}"
                )
        return cls(inputs, output)

    def compare(self, model: nn.Module, traced: fx.GraphModule, *, bit_for_bit: bool) -> None:
        """Refuse a traced network that does not give the same.

        Args:
            model: what was traced, unchanged.
            traced: the traced network, in evaluation mode.
            bit_for_bit: whether both run the same operations; otherwise they may differ by
                rounding.

        Raises:
            ModelError: it does not; the first module or line that differs is named.
        """
        run = Observer(traced)
        with torch.no_grad(), repeatable_random(traced):
            found = run.run(*in_order(traced, cloned(self.inputs)))
        # Clones are made to be written into.
        if wrong := [write for write in run.writes if write.written.target != "clone"]:
            raise ModelError(
                f"{statement(wrong[0].node)} changes a tensor in place that is read elsewhere"
            )
        if alike(found, self.output) or (not bit_for_bit and self._to_rounding(model, traced)):
            return
        copy = copied(model).eval()
        where = _first_difference(copy, traced, self.inputs)
        if where is None and self._to_rounding(model, traced):
            return
        raise ModelError(
            f"tracing does not understand {type(model).__name__}: "
            f"{where or 'its outputs differ from the traced ones'}"
        )

    def _to_rounding(self, model: nn.Module, traced: fx.GraphModule) -> bool:
        """Whether both give the same in float64, where what rounding does is small."""
        try:
            original = in_float64(copied(model).eval())
            inputs = typed_as(torch.float64, self.inputs)
            return difference(original, in_float64(deepcopied(traced).eval()), inputs) < EXACT
        except RuntimeError:
            return False


def check_rewritten(network: nn.Module, rewritten: nn.Module, input_size: InputSize) -> None:
    """Refuse a rewritten network that computes something else than its type's rounding explains.

    Args:
        network: in any mode; on the meta device, there is nothing to compare.
        rewritten: in evaluation mode.
        input_size: of both.

    Raises:
        ModelError: outputs differ by more than the square root of the type's smallest step, and
            by more than ten times what the network itself loses to rounding.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    inputs = batch_like(network, input_size, EXAMPLES)
    with evaluating(network):
        found = difference(network, rewritten, inputs)
        allowed = torch.finfo(next(network.parameters()).dtype).eps ** 0.5
        if found > allowed:
            exact = run(in_float64(deepcopied(network)), typed_as(torch.float64, inputs))
            own = relative(exact, run(network, inputs))
            found, allowed = relative(exact, run(rewritten, inputs)), max(allowed, 10 * own)
    if not found <= allowed:
        raise ModelError(
            f"the rewritten network's outputs differ by {found:.1e} relative, where rounding "
            f"explains {allowed:.1e}; rewrite it in a type of more digits, or see what its modules "
            "do beside what their classes say"
        )


def one_tensor(network: nn.Module, output: object) -> Tensor:
    """The output, if it is one tensor.

    Raises:
        ModelError: it is not.
    """
    if isinstance(output, Tensor):
        return output
    raise ModelError(
        f"{type(network).__name__} returns a {type(output).__name__}, not one tensor; wrap it in "
        "a module whose forward returns the tensor that counts"
    )


def run(network: nn.Module, inputs: Inputs) -> Any:
    """What a network gives without gradients; random operations draw the same every time."""
    with torch.no_grad(), repeatable_random(network):
        return called(network, cloned(inputs))


def in_float64(network: nn.Module) -> nn.Module:
    """The network, its weights in float64."""
    return network.double()


def difference(one: nn.Module, other: nn.Module, inputs: Inputs) -> float:
    """Largest difference of two networks' outputs over the largest absolute one.

    It is infinite where only one of them is finite, or where shapes differ.
    """
    return relative(*(one_tensor(one, run(network, inputs)) for network in (one, other)))


def relative(wanted: Tensor, found: Tensor) -> float:
    """Largest difference over the largest absolute value of ``wanted``, where that is finite."""
    if wanted.shape != found.shape:
        return float("inf")
    wanted, found = wanted.double(), found.double()
    finite = wanted.isfinite()
    if not bool(found[finite].isfinite().all()):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    largest = float(wanted[finite].abs().max())
    return float((found[finite] - wanted[finite]).abs().max()) / (largest or 1.0)


def alike(one: object, other: object) -> bool:
    """Whether two tensors are the same bit for bit, NaN included."""
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return False
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(torch.isclose(one, other, rtol=0, atol=0, equal_nan=True).all())


def cloned(inputs: Inputs) -> Inputs:
    """A batch that a network may write into."""
    if isinstance(inputs, Mapping):
        return {name: tensor.clone() for name, tensor in inputs.items()}
    return inputs.clone()


def typed_like(network: nn.Module, inputs: Inputs) -> Inputs:
    """A batch in the type, and on the device, of a network's weights."""
    return moved(inputs, next(network.parameters(), next(iter(tensors_of(inputs)))))


def typed_as(dtype: torch.dtype, inputs: Inputs) -> Inputs:
    """A batch, its real numbers in another type."""
    if isinstance(inputs, Mapping):
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    return inputs.to(dtype)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; each module's own mode is restored."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextlib.contextmanager
def repeatable_random(network: nn.Module) -> Iterator[None]:
    """Let random operations draw the same every time; the generators go on as before."""
    on_gpu = {p.get_device() for p in network.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices=sorted(on_gpu)):
        torch.manual_seed(0)
        yield


def _run_or_refuse(network: nn.Module, inputs: Inputs, input_size: InputSize) -> Any:
    try:
        return run(network, inputs)
    except Exception as error:
        what, told = f"a batch of {EXAMPLES} inputs", error
        try:
            run(network, first(inputs, 1))
        except Exception as with_one:
            what, told = "an input", with_one
        message = str(told.__cause__ or told).partition("\n")[0]
        raise ModelError(
            f"the model refuses {what} of {size_text(input_size)}: {message}"
        ) from error


def _state(network: nn.Module) -> dict[str, object]:
    """What modules hold beside weights that can count or switch, and how often tensors changed."""
    found: dict[str, object] = {}
    for path, module in network.named_modules():
        prefix = f"{path}." if path else ""
        for name, value in vars(module).items():
            if name not in _OWN:
                found |= {prefix + name + at: one for at, one in _scalars(value, _DEEPEST)}
        tensors = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        found |= {prefix + name: tensor._version for name, tensor in tensors}  # noqa: SLF001
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


def _changed(before: dict[str, object], after: dict[str, object]) -> str:
    names = before.keys() | after.keys()
    return min(name for name in names if before.get(name, _ABSENT) != after.get(name, _ABSENT))


def _refuse_change(
    before: dict[str, object], first: dict[str, object], second: dict[str, object]
) -> None:
    """What is set once, such as the size of the last input, is no more than remembered."""
    if second != first:
        name = _changed(first, second)
        raise ModelError(
            f"{name} changes whenever the network runs, in evaluation mode too (from "
            f"{before.get(name)} to {first.get(name)} to {second.get(name)}); a traced network "
            "would not change it"
        )


def _first_difference(network: nn.Module, traced: fx.GraphModule, inputs: Inputs) -> str | None:
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
