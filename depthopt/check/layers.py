"""Compare the layers of two networks, as the runtime's own profiler timed them.

Names alone do not help: a layer put in front renumbers all behind it. Layers are aligned as
texts are (Needleman and Wunsch, 1970): pairs of equal operators in equal order, others
left over, so that the fewest milliseconds change. Of pairs that are about as good, those of
one name are taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from depthopt.core.counted import counted
from depthopt.runtimes.base import LayerTime, Runtime, random_inputs

_PASSES = 3
_SHOWN = 10
_SHARE = 0.005
"""Share of the baseline by which a layer must change to be reported."""
_RENAMED = 0.1
"""A pair of two names counts as if it differed by this share more."""


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """A layer that became faster or slower, or was added or removed.

    Attributes:
        name: in the current network; in the baseline if it is gone; of several that are too
            small to be shown alone, how many there are.
        operator: its kind, in the runtime's words.
        baseline_ms: None if it is new.
        current_ms: None if it is gone.
    """

    name: str
    operator: str
    baseline_ms: float | None
    current_ms: float | None

    @property
    def change_ms(self) -> float:
        """How many milliseconds longer it takes than before."""
        return (self.current_ms or 0.0) - (self.baseline_ms or 0.0)

    @property
    def change(self) -> str:
        """``added``, ``removed``, or by how much its time changed."""
        if self.baseline_ms is None:
            return "added"
        return "removed" if self.current_ms is None else f"{self.change_ms:+.3f} ms"


def moved_layers(
    baseline: Path, current: Path, *, runtime: Runtime, batch: int
) -> tuple[LayerDifference, ...]:
    """The layers whose times changed most, largest first. Empty without a profiler.

    New layers of a kind, and gone ones, that are too small each count together. Both
    networks are profiled in turn, several times over; a layer's time is its least.

    Raises:
        ModelError: a network cannot be compiled or run.
    """
    sides = [(m, random_inputs(runtime.compile(m), batch)) for m in (baseline, current)]
    passes = [
        [runtime.layer_times(model, inputs) for model, inputs in sides] for _ in range(_PASSES)
    ]
    before, after = (_least([one[side] for one in passes]) for side in (0, 1))
    least_ms = _SHARE * sum(layer.median_ms for layer in before)
    every = aligned(before, after)
    small = [d for d in every if abs(d.change_ms) <= least_ms]
    candidates = [*(d for d in every if abs(d.change_ms) > least_ms), *_summed(small)]
    found = [d for d in candidates if abs(d.change_ms) > least_ms]
    return tuple(sorted(found, key=lambda d: -abs(d.change_ms))[:_SHOWN])


def aligned(before: Sequence[LayerTime], after: Sequence[LayerTime]) -> list[LayerDifference]:
    """All layers of both networks, in pairs where they correspond."""
    cost = np.zeros((len(before) + 1, len(after) + 1))
    cost[1:, 0] = np.cumsum([layer.median_ms for layer in before])
    cost[0, 1:] = np.cumsum([layer.median_ms for layer in after])
    for i, old in enumerate(before, 1):
        for j, new in enumerate(after, 1):
            options = [cost[i - 1, j] + old.median_ms, cost[i, j - 1] + new.median_ms]
            if old.operator == new.operator:
                options.append(cost[i - 1, j - 1] + _unlike(old, new))
            cost[i, j] = min(options)
    found = []
    i, j = len(before), len(after)
    while i or j:
        if i and j and before[i - 1].operator == after[j - 1].operator:
            old, new = before[i - 1], after[j - 1]
            if cost[i, j] == cost[i - 1, j - 1] + _unlike(old, new):
                pair = LayerDifference(new.name, new.operator, old.median_ms, new.median_ms)
                found.append(pair)
                i, j = i - 1, j - 1
                continue
        if i and cost[i, j] == cost[i - 1, j] + before[i - 1].median_ms:
            i -= 1
            old = before[i]
            found.append(LayerDifference(old.name, old.operator, old.median_ms, None))
        else:
            j -= 1
            new = after[j]
            found.append(LayerDifference(new.name, new.operator, None, new.median_ms))
    return found[::-1]


def _unlike(old: LayerTime, new: LayerTime) -> float:
    """How little two layers of one operator make a pair, in milliseconds."""
    renamed = 0.0 if old.name == new.name else _RENAMED * min(old.median_ms, new.median_ms)
    return abs(new.median_ms - old.median_ms) + renamed


def _summed(layers: Sequence[LayerDifference]) -> Iterator[LayerDifference]:
    """New layers as one per operator, and gone ones likewise; pairs are left out."""
    for operator in dict.fromkeys(layer.operator for layer in layers):
        same = [layer for layer in layers if layer.operator == operator]
        new = [x.current_ms for x in same if x.baseline_ms is None and x.current_ms is not None]
        gone = [x.baseline_ms for x in same if x.current_ms is None and x.baseline_ms is not None]
        yield LayerDifference(counted(len(new), "small layer"), operator, None, sum(new))
        yield LayerDifference(counted(len(gone), "small layer"), operator, sum(gone), None)


def _least(passes: Sequence[Sequence[LayerTime]]) -> list[LayerTime]:
    """Each layer with its least time; passes of one model have the same layers."""
    return [min(same, key=lambda layer: layer.median_ms) for same in zip(*passes, strict=True)]
