"""What a method offers: networks from the mildest to the fastest, one of which is picked.

The pick is the mildest network that is as fast as asked *when measured*: predictions of the
methods differ in kind, and would make unlike things look alike.
"""

import statistics
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
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
GUESSES = 3
"""How many networks are tried where predictions lead, before the rest is halved."""
ORIGINAL = "original"
"""Names the network that all are compared with."""


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
    """The mildest network at least so fast, and the fastest speed-up seen.

    Each of the first measurements tells how much faster networks are than predicted, which says
    where to look next; then what is left is halved.

    Args:
        family: whose speed-ups rise with the index, measuring errors aside.
        speedup: measures the one of an index.
        asked: the speed-up.
        known: speed-ups by index, measured before; what is measured is added.
    """
    slow = max((i for i, measured in known.items() if measured < asked), default=-1)
    fast = min((i for i in known if i > slow), default=family.size)
    target, guesses = asked, GUESSES
    while fast - slow > 1 and not _just_faster(known.get(fast), asked):
        index = family.guess(target) if guesses else (slow + fast) // 2
        index, guesses = min(max(index, slow + 1), fast - 1), max(guesses - 1, 0)
        known[index] = speedup(index)
        target *= asked / known[index]
        if known[index] >= asked:
            fast = index
        else:
            slow = index
    return (fast if fast < family.size else None), max(known.values())


def _just_faster(speedup: float | None, asked: float) -> bool:
    return speedup is not None and asked <= speedup <= asked * (1 + TOLERANCE)


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
        final = merge(network) if isinstance(network, TracedNetwork) else network
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
