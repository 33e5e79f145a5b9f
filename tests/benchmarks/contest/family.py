"""What a method offers: networks from the mildest to the fastest, one of which is picked.

The pick is the mildest network that is as fast as asked *when measured*: predictions of the
methods differ in kind, and would make unlike things look alike.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor, nn

from depthopt.export import export_onnx
from depthopt.graph.network import TracedNetwork
from depthopt.latency.measure import Effort, sample_in_turn
from depthopt.pipeline.context import BATCH, Context
from depthopt.rewrite import merge
from depthopt.runtimes import random_inputs

TOLERANCE = 0.03
"""A network is not searched further if it is faster than asked by no more than this share."""


@dataclass(frozen=True, slots=True)
class Family:
    """Networks 0 .. size - 1, each milder than the next.

    Attributes:
        size: how many there are.
        structure: a network with any weights, for timing and for loading weights into.
        started: the network as its finetuning starts.
        guess: the index at which to begin the search for a speed-up.
    """

    size: int
    structure: Callable[[int], nn.Module]
    started: Callable[[int], nn.Module]
    guess: Callable[[float], int]


def mildest(
    family: Family, speedup: Callable[[int], float], asked: float, known: dict[int, float]
) -> tuple[int | None, float]:
    """The mildest network at least so fast, found by bisection, and the fastest seen.

    Args:
        family: whose speed-ups rise with the index, measuring errors aside.
        speedup: measures the one of an index.
        asked: the speed-up.
        known: speed-ups by index, measured before; what is measured is added.
    """
    slow = max((i for i, measured in known.items() if measured < asked), default=-1)
    fast = min((i for i in known if i > slow), default=family.size)
    index = min(max(family.guess(asked), slow + 1), fast - 1)
    while fast - slow > 1 and not _just_faster(known.get(fast), asked):
        known[index] = speedup(index)
        if known[index] >= asked:
            fast = index
        else:
            slow = index
        index = (slow + fast) // 2
    return (fast if fast < family.size else None), max(known.values())


def _just_faster(speedup: float | None, asked: float) -> bool:
    return speedup is not None and asked <= speedup <= asked * (1 + TOLERANCE)


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Times networks in turn with the original, on the recipe's runtime.

    Attributes:
        context: of the original.
        seconds: cap on the time for one network and the original in turn.
    """

    context: Context
    seconds: float

    def speedup(self, network: nn.Module) -> float:
        """How many times as fast as the original a network is."""
        return self.speedups({"network": network})["network"]

    def speedups(self, networks: Mapping[str, nn.Module]) -> dict[str, float]:
        """The same for several, all timed in turn: medians of the rounds' ratios."""
        with TemporaryDirectory() as folder:
            calls = [self._compiled(original_onnx(self.context))]
            for i, network in enumerate(networks.values()):
                calls.append(self._call(network, Path(folder) / f"{i}.onnx"))
            named = {str(i): call for i, call in enumerate(calls)}
            effort = Effort(seconds=self.seconds * len(networks))
            originals, *others = sample_in_turn(named, effort=effort).values()
        return {
            name: statistics.median(ms / own for ms, own in zip(originals, samples, strict=True))
            for name, samples in zip(networks, others, strict=True)
        }

    def _call(self, network: nn.Module, path: Path) -> Callable[[], object]:
        final = merge(network) if isinstance(network, TracedNetwork) else network
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
