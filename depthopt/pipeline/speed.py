"""Measure briefly how fast this machine is: a forward pass, a training step, a product."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from depthopt.core.inputs import InputSize, called, moved
from depthopt.core.workload import Workload
from depthopt.graph.examples import made_up
from depthopt.graph.outputs import output_of
from depthopt.train.layout import trained_layout

_SIDE = 1024
"""Of the matrices that are multiplied to see how fast that is."""


@dataclass(frozen=True, slots=True)
class Speed:
    """This machine's measured speed with the original network.

    Attributes:
        forward_s: of one image, in a batch.
        step_s: the same, forward and backward.
        step_bytes: kept for the backward pass, per image.
        macs64: multiply-accumulates a second, in float64.
    """

    forward_s: float
    step_s: float
    step_bytes: float
    macs64: float

    def of(self, work: Workload) -> tuple[float, float | None]:
        """The seconds and gigabytes that some work takes here."""
        seconds = work.forward_images * self.forward_s + work.trained_images * self.step_s
        seconds += work.macs64 / self.macs64 + work.clock_s
        return seconds, (work.memory_bytes + work.kept_images * self.step_bytes) / 1e9 or None


def measured_speed(model: nn.Module, size: InputSize, batch: int = 8) -> Speed:
    """Measure this machine's speed with a network, within seconds.

    Args:
        model: it is left on the device that is used, in training mode.
        size: of its inputs.
        batch: images per pass.
    """
    device = torch.device("cpu")
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator() or device
    layout = trained_layout(model, device)
    model = model.to(device).to(memory_format=layout)
    inputs = moved(made_up(size, batch), next(model.parameters()), layout)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    def forward() -> None:
        with torch.no_grad():
            called(model.eval(), inputs)

    def step() -> None:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = output_of(model.train(), inputs)
            output.square().mean().backward()  # type: ignore[no-untyped-call]

    weights = {p.data_ptr() for p in model.parameters()}
    forward_s, step_s = _seconds(forward) / batch, _seconds(step) / batch
    saved = sum(size for pointer, size in kept.items() if pointer not in weights)
    model.zero_grad()
    return Speed(forward_s, step_s, saved / batch, _macs64(device))


@functools.cache
def _macs64(device: torch.device) -> float:
    """Multiply-accumulates of a second in float64."""
    matrix = torch.randn(_SIDE, _SIDE, dtype=torch.float64, device=device)
    return _SIDE**3 / _seconds(lambda: matrix @ matrix)


def _seconds(work: Callable[[], object]) -> float:
    """Of the fastest of four runs."""
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        work()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        times.append(time.perf_counter() - begin)
    return min(times)
