"""A network's outputs as one tensor, whatever structure they come in."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from depthopt.core.inputs import Inputs, InputSize, called
from depthopt.errors import ModelError
from depthopt.graph.examples import blank


def leaves(network: nn.Module, output: object) -> dict[str, Tensor]:
    """The tensors of an output, by name, in order.

    A dict's have its keys for names, those of a tuple or list their places; of nested ones the
    names are joined by dots. A single tensor's name is empty.

    Args:
        network: for messages.
        output: a tensor, or tuples, lists and dicts of tensors. Entries that are None are left out.

    Raises:
        ModelError: something else is in it, or nothing.
    """
    found = dict(_leaves(network, output, ""))
    if not found:
        raise ModelError(f"{type(network).__name__} returns no tensor")
    return found


def _leaves(network: nn.Module, output: object, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(output, Tensor):
        yield name, output
    elif isinstance(output, Mapping | tuple | list):
        parts = output.items() if isinstance(output, Mapping) else enumerate(output)
        for key, part in parts:
            yield from _leaves(network, part, f"{name}.{key}" if name else str(key))
    elif output is not None:
        where = f" in its output {name}" if name else ""
        raise ModelError(
            f"{type(network).__name__} returns a {type(output).__name__}{where}, not a tensor; "
            "wrap it in a module whose forward returns the tensors that count"
        )


def one_tensor(network: nn.Module, output: object) -> Tensor:
    """The output's one tensor; of several, the numbers of all (N, numbers), in order.

    Raises:
        ModelError: something else than a tensor is in it, or tensors of other types than the
            first, or that do not have a row for each example.
    """
    if isinstance(output, Tensor):
        return output
    found = leaves(network, output)
    _, first = next(iter(found.items()))
    if len(found) == 1 and first.dim():
        return first
    for name, tensor in found.items():
        if not tensor.dim() or len(tensor) != len(first) or tensor.dtype != first.dtype:
            raise ModelError(
                f"{type(network).__name__} returns {tensor.dtype} of shape {tuple(tensor.shape)} "
                f"as output {name}, beside {first.dtype} of shape {tuple(first.shape)}; expected "
                "tensors of one type, with a row for each example; a part of the network that "
                "gives such can be compressed alone (compress --part, depthopt.part_of)"
            )
    return torch.cat([tensor.reshape(len(tensor), -1) for tensor in found.values()], 1)


def output_of(network: nn.Module, inputs: Inputs) -> Tensor:
    """What a network gives for a batch, as ``one_tensor``."""
    return one_tensor(network, called(network, inputs))


@torch.no_grad()
def numbers_of(network: nn.Module, input_size: InputSize) -> tuple[int, ...]:
    """How many numbers each output of a network in evaluation mode has for an example."""
    inputs = blank(input_size, next(network.parameters(), torch.zeros(())))
    return tuple(t[0].numel() for t in leaves(network, called(network, inputs)).values())


class AsOne(nn.Module):
    """A network that gives all its outputs as one tensor, as ``one_tensor`` makes it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *images: Tensor, **named: Tensor) -> Tensor:
        """The outputs for a batch."""
        return one_tensor(self.network, self.network(*images, **named))
