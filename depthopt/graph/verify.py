"""Prove that a traced or rewritten network computes the same as the one it was made from."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from depthopt.core.inputs import Inputs, InputSize, first, moved, size_text, tensors_of
from depthopt.errors import ModelError
from depthopt.graph.examples import batch_like, in_order
from depthopt.graph.first_difference import first_difference
from depthopt.graph.in_place import Observer, statement
from depthopt.graph.original import copied, deepcopied
from depthopt.graph.outputs import one_tensor
from depthopt.graph.remembered import changed, check_settled, state_of
from depthopt.graph.runs import alike, cloned, repeatable_random, run, without_hooks_of_all

EXAMPLES = 2
"""Size of the batch that networks are compared on."""

EXACT = 1e-10
"""Relative difference in float64 below which networks differ by rounding alone."""


@dataclass(frozen=True, slots=True)
class Original:
    """A network's output for one random batch.

    Attributes:
        inputs: seeded, in the network's type.
        output: of the network in evaluation mode.
    """

    inputs: Inputs
    output: Tensor

    @classmethod
    def of(cls, network: nn.Module, input_size: InputSize, *, seed: int = 0) -> "Original":
        """Run a network of any class, in evaluation mode.

        Args:
            network: a copy: what it does to itself stays.
            input_size: of its inputs.
            seed: of the batch.

        Raises:
            ModelError: it refuses the input size, does not return one tensor, or changes itself
                whenever it runs.
        """
        inputs = batch_like(network, input_size, EXAMPLES, seed=seed)
        before = state_of(network)
        output = _run_or_refuse(network, inputs, input_size)
        after = state_of(network)
        with without_hooks_of_all() as any_were:
            if any_were and not alike(run(network, inputs), output):
                raise ModelError(
                    "a hook on the forward of all modules changes what they give "
                    "(torch.nn.modules.module.register_module_forward_hook), which merging would "
                    "lose; remove it"
                )
        if after != before:
            # What is set once, such as the size of the last input, is no more than remembered.
            again = _run_or_refuse(network, inputs, input_size)
            check_settled(before, after, state_of(network))
            if not alike(again, output):
                raise ModelError(
                    f"{type(network).__name__} gives something else when it runs again on the "
                    f"same inputs; it remembers {changed(before, after)}"
                )
        return cls(inputs, output)

    def compare(self, model: nn.Module, traced: fx.GraphModule, *, bit_for_bit: bool) -> None:
        """Refuse a traced network that gives a different output.

        Args:
            model: what was traced, unchanged.
            traced: the traced network, in evaluation mode.
            bit_for_bit: whether both run the same operations, and on a CPU: otherwise they may
                differ by rounding.

        Raises:
            ModelError: it does not; the first module or line that differs is named.
        """
        run = Observer(traced)
        with torch.no_grad(), repeatable_random(traced):
            found = one_tensor(traced, run.run(*in_order(traced, cloned(self.inputs))))
        # Clones are made to be written into.
        if wrong := [write for write in run.writes if write.written.target != "clone"]:
            raise ModelError(
                f"{statement(wrong[0].node)} changes a tensor in place that is read elsewhere"
            )
        if alike(found, self.output) or (not bit_for_bit and self._to_rounding(model, traced)):
            return
        where = first_difference(copied(model).eval(), traced, self.inputs)
        raise ModelError(f"tracing does not understand {type(model).__name__}: {where}")

    def _to_rounding(self, model: nn.Module, traced: fx.GraphModule) -> bool:
        """Whether both give the same in float64, where what rounding does is small."""
        try:
            original = copied(model).eval().double()
            inputs = typed_as(torch.float64, self.inputs)
            return difference(original, deepcopied(traced).eval().double(), inputs) < EXACT
        except RuntimeError:
            return False


def check_rewritten(network: nn.Module, rewritten: nn.Module, input_size: InputSize) -> None:
    """Refuse a rewritten network that differs by more than rounding explains.

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
            exact = run(deepcopied(network).double(), typed_as(torch.float64, inputs))
            own = relative(exact, run(network, inputs))
            found, allowed = relative(exact, run(rewritten, inputs)), max(allowed, 10 * own)
    if not found <= allowed:
        raise ModelError(
            f"the rewritten network's outputs differ by {found:.1e} relative, where rounding "
            f"explains {allowed:.1e}; rewrite it in a type of more digits, or see what its modules "
            "do beside what their types say"
        )


def difference(one: nn.Module, other: nn.Module, inputs: Inputs) -> float:
    """Largest difference of two networks' outputs over the largest absolute one.

    It is infinite where only one of them is finite, or where shapes differ.
    """
    return relative(*(run(network, inputs) for network in (one, other)))


def relative(wanted: Tensor, found: Tensor) -> float:
    """Largest difference over the largest absolute value of ``wanted``, if that is finite."""
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


def typed_like(network: nn.Module, inputs: Inputs) -> Inputs:
    """A batch in the type and on the device of a network's weights."""
    return moved(inputs, next(network.parameters(), next(iter(tensors_of(inputs)))))


def typed_as(dtype: torch.dtype, inputs: Inputs) -> Inputs:
    """A batch with its real numbers in another type."""
    if isinstance(inputs, Mapping):
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    return inputs.to(dtype)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients. Each module's mode is restored afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _run_or_refuse(network: nn.Module, inputs: Inputs, input_size: InputSize) -> Tensor:
    try:
        return run(network, inputs)
    except ModelError:  # of what it returns
        raise
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
