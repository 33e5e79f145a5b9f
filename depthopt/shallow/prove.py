"""Prove that what depthopt makes of a network computes the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from depthopt.core.inputs import Inputs, InputSize, called, count
from depthopt.graph.examples import batch_like
from depthopt.graph.network import TracedNetwork
from depthopt.graph.original import copied, deepcopied
from depthopt.graph.runs import alike, cloned, run
from depthopt.graph.trace import trace
from depthopt.graph.verify import difference, relative, typed_like
from depthopt.shallow.fuse import fuse

SEEDS, BATCHES, CALLS = (0, 1), (1, 3), 3

TOLERANCE = 1e-9
"""Largest relative difference in float64 that rounding explains."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One part of a proof.

    Attributes:
        what: is compared, in words.
        holds: whether it does; None where it could not be seen.
        detail: a figure, or why not.
    """

    what: str
    holds: bool | None
    detail: str


def prove(
    model: nn.Module, input_size: InputSize, *, images: Inputs | None = None
) -> tuple[Finding, ...]:
    """Compare a network with its traced and its fused form, in every quick way.

    Args:
        model: the original network; it is not changed.
        input_size: (C, H, W), or the named inputs.
        images: real ones (N, C, H, W), or named inputs.

    Raises:
        ModelError: the network cannot be traced, or is not what is traced.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        return (Finding("the traced network", None, "the model lies on the meta device"),)
    traced = trace(model, input_size)
    found = [Finding("the traced network, on a batch of 2", True, "bit for bit")]
    original = copied(model).eval().double()
    network = trace(original, input_size)
    fused = fuse(network)
    for name, other in (("the traced network", network), ("the fused network", fused)):
        largest = max(
            difference(original, other, batch_like(original, input_size, batch, seed=seed))
            for seed, batch in product(SEEDS, BATCHES)
        )
        what = f"{name}, in float64, on two seeds and batches of 1 and 3"
        found.append(_compared(what, largest))
    found += [_calls(original, network, input_size), *_training(original, network, input_size)]
    if images is not None:
        images = typed_like(model, images)
        same = alike(run(copied(model).eval(), images), run(traced, images))
        detail = "bit for bit" if same else "outputs differ"
        found.append(Finding(f"the traced network, on {count(images)} images", same, detail))
    return tuple(found)


def _compared(what: str, largest: float) -> Finding:
    return Finding(what, largest <= TOLERANCE, f"within {largest:.1e} relative")


def _calls(original: nn.Module, network: nn.Module, input_size: InputSize) -> Finding:
    inputs = batch_like(original, input_size, 2)
    again = deepcopied(original)
    outputs = [run(each, inputs) for each in (again, network) for _ in range(CALLS)]
    same = all(alike(outputs[0], other) for other in outputs[1:])
    detail = "the same each time" if same else "the original's output differs when called again"
    return Finding(f"{CALLS} calls in a row", same, detail)


def _training(
    original: nn.Module, network: TracedNetwork, input_size: InputSize
) -> Iterator[Finding]:
    """One step in training mode: outputs, norms' statistics, gradients."""
    what = "a step in training mode: outputs, norms' statistics and gradients"
    inputs = batch_like(original, input_size, max(BATCHES))
    try:
        ours, theirs = (_step(deepcopied(each), inputs, 0) for each in (original, network))
        other = _step(deepcopied(original), inputs, 1)
    except Exception as error:
        yield Finding(what, None, str(error).partition("\n")[0])
        return
    random = not alike(ours["output"], other["output"])
    largest = max(relative(ours[name], theirs[name]) for name in ours.keys() & theirs.keys())
    if random and largest > TOLERANCE:
        yield Finding(what, None, "random in training, and drawn in another order")
        return
    yield _compared(what + (", where both draw the same" if random else ""), largest)


def _step(network: nn.Module, inputs: Inputs, seed: int) -> dict[str, Tensor]:
    """Output, buffers and gradients, by name."""
    network.train().requires_grad_()
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        output = called(network, cloned(inputs))
        while not isinstance(output, Tensor):  # of several, such as auxiliary classifiers'
            output = next(iter(output.values() if isinstance(output, dict) else output))
        output.square().mean().backward()  # type: ignore[no-untyped-call]
    found = {f"buffer {name}": buffer.detach() for name, buffer in network.named_buffers()}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            found[f"gradient {name}"] = parameter.grad
    return found | {"output": output.detach()}
