"""Random examples of a network's inputs, and batches as a traced network takes them."""

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from depthopt.core.inputs import Input, Inputs, InputSize, InputSpec, moved
from depthopt.errors import ModelError


def blank(size: InputSize, like: Tensor) -> Inputs:
    """One example of zeros.

    Args:
        size: of the inputs.
        like: a weight, whose device floating-point inputs share, and its precision.
    """
    if not isinstance(size, InputSpec):
        return torch.zeros((1, *size), device=like.device, dtype=like.dtype)
    return {
        each.name: torch.zeros(
            (1, *each.shape),
            device=like.device,
            dtype=like.dtype if _dtype(each).is_floating_point else _dtype(each),
        )
        for each in size.inputs
    }


def made_up(size: InputSize, examples: int, *, seed: int = 0) -> Inputs:
    """Random examples: normal numbers, or numbers from the input's range."""
    generator = torch.Generator().manual_seed(seed)
    if not isinstance(size, InputSpec):
        return torch.randn((examples, *size), generator=generator)
    return {each.name: _random(each, examples, generator) for each in size.inputs}


def batch_like(network: nn.Module, size: InputSize, examples: int, *, seed: int = 0) -> Inputs:
    """Random examples in the type and on the device of a network's weights."""
    like = next(network.parameters(), torch.zeros(()))
    return moved(made_up(size, examples, seed=seed), like)


def in_order(network: fx.GraphModule, inputs: Inputs) -> tuple[Tensor, ...]:
    """A batch as the arguments of a traced network.

    Raises:
        ModelError: inputs are missing, or the network knows no such input.
    """
    if not isinstance(inputs, Mapping):
        return (inputs,)
    nodes = [node for node in network.graph.nodes if node.op == "placeholder"]
    wanted = [str(node.target) for node in nodes if not node.args]  # others have a default
    if sorted(inputs) != sorted(wanted):
        raise ModelError(
            f"the network takes the inputs {', '.join(wanted)}; got {', '.join(inputs)}"
        )
    return tuple(inputs[name] for name in wanted)


def _random(each: Input, examples: int, generator: torch.Generator) -> Tensor:
    shape, dtype = (examples, *each.shape), _dtype(each)
    if each.range is None and dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    low, high = each.range or (0, 1)
    if dtype.is_floating_point:
        return (low + (high - low) * torch.rand(shape, generator=generator)).to(dtype)
    return torch.randint(int(low), int(high) + 1, shape, generator=generator).to(dtype)


def _dtype(each: Input) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, each.dtype)
    return dtype
