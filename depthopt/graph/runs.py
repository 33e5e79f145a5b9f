"""Run networks so that two runs can be compared."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from depthopt.core.inputs import Inputs
from depthopt.graph.outputs import output_of


def run(network: nn.Module, inputs: Inputs) -> Tensor:
    """A network's output without gradients. Random operations draw the same every time.

    Several outputs are one tensor (``depthopt.graph.outputs``).

    Raises:
        ModelError: something else than tensors is returned.
    """
    with torch.no_grad(), repeatable_random(network):
        return output_of(network, cloned(inputs))


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


@contextlib.contextmanager
def repeatable_random(network: nn.Module) -> Iterator[None]:
    """Let random operations draw the same every time, and restore the generators."""
    on_gpu = {p.get_device() for p in network.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices=sorted(on_gpu)):
        torch.manual_seed(0)
        yield


@contextlib.contextmanager
def without_hooks_of_all() -> Iterator[bool]:
    """Leave out the hooks that torch calls for every module. Tells whether there are any."""
    home = nn.modules.module
    places = (home._global_forward_pre_hooks, home._global_forward_hooks)  # noqa: SLF001
    hooks = [dict(place) for place in places]
    for place in places:
        place.clear()
    try:
        yield any(hooks)
    finally:
        for place, own in zip(places, hooks, strict=True):
            place.update(own)
