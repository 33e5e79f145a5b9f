"""What a method offers: networks from the least costly to the fastest. One of them is picked.

The pick is the least costly network that is as fast as asked *when measured* (as in
``depthopt.latency.search``): predictions of the methods differ in kind, and would make unlike
things look alike.
"""

import statistics
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor, nn

from depthopt.export.onnx import export_onnx
from depthopt.graph.network import TracedNetwork
from depthopt.latency.measure import Effort, sample_in_turn
from depthopt.pipeline.context import BATCH, Context
from depthopt.runtimes.base import random_inputs
from depthopt.shallow.fuse import fuse

ORIGINAL = "original"
"""Names the network that all are compared with."""


@dataclass(frozen=True, slots=True)
class Family:
    """Networks, each less costly than the next.

    Attributes:
        predicted: speed-ups over the original, rising, where the search begins.
        structure: a network with any weights, for timing and for loading weights into.
        started: the network as its finetuning starts.
        choose: gives the index of the network that the method itself picks for a speed-up, which
            need not be the least costly. None if the method does not pick one itself.
    """

    predicted: tuple[float, ...]
    structure: Callable[[int], nn.Module]
    started: Callable[[int], nn.Module]
    choose: Callable[[float], int] | None = None


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Times networks in turn with the original, on the recipe's runtime.

    Attributes:
        context: of the original.
        seconds: cap on the time for one network and the original in turn.
        compiled: networks that were timed before, by what names them.
    """

    context: Context
    seconds: float
    compiled: dict[Hashable, Callable[[], object]] = field(default_factory=dict)

    def speedup(self, name: Hashable, network: Callable[[], nn.Module]) -> float:
        """How many times as fast as the original a network is, which is made if it is new."""
        return self.speedups({name: network})[name]

    def speedups(
        self, networks: Mapping[Hashable, Callable[[], nn.Module]]
    ) -> dict[Hashable, float]:
        """The same for several, all timed in turn: medians of the rounds' ratios."""
        if ORIGINAL not in self.compiled:
            self.compiled[ORIGINAL] = self._compiled(original_onnx(self.context))
        for name, make in networks.items():
            if name not in self.compiled:
                self.compiled[name] = self._exported(make())
        calls = {str(i): self.compiled[name] for i, name in enumerate((ORIGINAL, *networks))}
        effort = Effort(seconds=self.seconds * len(networks))
        originals, *others = sample_in_turn(calls, effort=effort).values()
        return {
            name: statistics.median(ms / own for ms, own in zip(originals, samples, strict=True))
            for name, samples in zip(networks, others, strict=True)
        }

    def _exported(self, network: nn.Module) -> Callable[[], object]:
        final = fuse(network) if isinstance(network, TracedNetwork) else network
        with TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            export_onnx(final, path, images=_images(self.context))
            return self._compiled(path)

    def _compiled(self, path: Path) -> Callable[[], object]:
        session = self.context.runtime.compile(path)
        return partial(session.run, random_inputs(session, 1))


def original_onnx(context: Context) -> Path:
    """The original network's ONNX file, written if it is not there yet."""
    path = context.path("original.onnx")
    if not path.exists():
        export_onnx(context.teacher, path, images=_images(context))
    return path


def _images(context: Context) -> Tensor:
    return next(context.data.calibration.batches(BATCH))[0]
