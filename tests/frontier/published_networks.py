"""Networks of the papers' as chains, and made-up tables of them in the published formats.

Nothing here is measured, nor of the authors' files: times grow with the operations of a
convolution, accuracies fall with a segment's length, both with noise of a seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations

import numpy as np

from depthopt.core.chain import Barrier, Block, Chain, Layout, Skip
from depthopt.core.operators import Activation, Convolution

Spec = tuple[int, bool]
"""Side length of a merged kernel, and whether it is depthwise."""

POINTS = 100.0


@dataclass(frozen=True)
class Network:
    """A chain, with what the papers' tables say of it.

    Attributes:
        chain: all blocks.
        first_block: blocks before the tables' position 0.
        last_block: one past the last block that the tables hold.
        breaks: positions of the tables that no segment crosses.
        original_ms: what the tables' blocks take in all, of the papers' size.
    """

    chain: Chain
    first_block: int
    last_block: int
    breaks: frozenset[int]
    original_ms: float

    @property
    def blocks(self) -> tuple[Block, ...]:
        return self.chain.blocks[self.first_block : self.last_block]

    @property
    def segments(self) -> list[tuple[int, int]]:
        """Positions of the tables; what the papers' code lists: nothing crosses a skip in part."""
        count, first = len(self.blocks), self.first_block
        return [
            (start, end)
            for start, end in combinations(range(count + 1), 2)
            if not any(start < position < end for position in self.breaks)
            and self.chain.why_unmergeable(start + first, end + first) is None
        ]


def _chain(
    name: str,
    convolutions: Sequence[tuple[int, int, int, int, bool, str | None]],
    size: int,
    skips: Sequence[tuple[int, int]] = (),
    pooled: Sequence[int] = (),
) -> Chain:
    """A chain of (in, out, kernel, stride, depthwise, activation); pooling halves at positions."""
    names = {f.name: "node" for f in fields(Block)}
    blocks, barriers, first = [], [], size
    for i, (before, after, kernel, stride, depthwise, activation) in enumerate(convolutions):
        if i in pooled:
            size //= 2
            barriers.append(Barrier(i, "pool", "a pooling"))
        side = kernel // 2
        operator = Convolution(
            before,
            after,
            (kernel, kernel),
            (stride, stride),
            (side, side, side, side),
            groups=before if depthwise else 1,
        )
        layout = Layout(before, (size, size), after, (size // stride, size // stride))
        size //= stride
        found = None if activation is None else Activation(activation)
        values = {"operator": operator, "layout": layout, "activation": found}
        blocks.append(Block(**names | values))
    edges = tuple(Skip(start, end, "add", "operand") for start, end in skips)
    return Chain(name, (3, first, first), tuple(blocks), edges, tuple(barriers), ())


def mobilenetv2(stages: Sequence[tuple[int, int, int, int]] | None = None) -> Network:
    """MobileNetV2-1.0 at 224x224; of other (expansion, width, blocks, stride) a smaller one."""
    stages = stages or (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    )  # fmt: skip
    layers: list[tuple[int, int, int, int, bool, str | None]] = [(3, 32, 3, 2, False, "relu6")]
    skips, breaks, width = [], [], 32
    for expansion, out, count, first_stride in stages:
        for block in range(count):
            stride, hidden, start = first_stride if not block else 1, width * expansion, len(layers)
            if expansion > 1:
                layers.append((width, hidden, 1, 1, False, "relu6"))
            layers.append((hidden, hidden, 3, stride, True, "relu6"))
            layers.append((hidden, out, 1, 1, False, None))
            if stride > 1:
                breaks.append(len(layers) - 1)
            if stride == 1 and width == out:
                skips.append((start, len(layers)))
            width = out
    inside = len(layers)
    layers.append((width, 1280, 1, 1, False, "relu6"))
    chain = _chain("mobilenetv2", layers, 224, skips)
    return Network(chain, 1, inside, frozenset(breaks), 0.67 * (inside - 1))


def resnet34(stages: Sequence[tuple[int, int]] | None = None) -> Network:
    """ResNet-34 at 224x224; of other (width, blocks) a smaller one; branches are left out."""
    stages = stages or ((64, 3), (128, 4), (256, 6), (512, 3))
    layers: list[tuple[int, int, int, int, bool, str | None]] = [(3, 64, 7, 2, False, "relu")]
    skips, breaks, width = [], [], 64
    for stage, (out, count) in enumerate(stages):
        for block in range(count):
            stride = 2 if stage and not block else 1
            skips.append((len(layers), len(layers) + 2))
            layers.append((width, out, 3, stride, False, "relu"))
            if stride > 1:
                breaks.append(len(layers) - 1)
            layers.append((out, out, 3, 1, False, "relu"))
            width = out
    chain = _chain("resnet34", layers, 224, skips, pooled=[1])
    return Network(chain, 1, len(layers), frozenset(breaks), 6.6 * (len(layers) - 1))


def vgg19(stages: Sequence[tuple[int, int]] | None = None) -> Network:
    """VGG19 at 224x224; of other (width, blocks) a smaller one."""
    stages = stages or ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
    layers: list[tuple[int, int, int, int, bool, str | None]] = []
    breaks, width = [], 3
    for out, count in stages:
        for _ in range(count):
            layers.append((width, out, 3, 1, False, "relu"))
            width = out
        breaks.append(len(layers))
    chain = _chain("vgg19", layers, 224, pooled=breaks[:-1])
    return Network(chain, 0, len(layers), frozenset(breaks[:-1]), 15.0 * len(layers))


SMALL = {
    "mobilenetv2": lambda: mobilenetv2(((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 1))),
    "resnet34": lambda: resnet34(((64, 2), (128, 2))),
    "vgg19": lambda: vgg19(((64, 2), (128, 3))),
}
FULL = {"mobilenetv2": mobilenetv2, "resnet34": resnet34, "vgg19": vgg19}


def merged_specs(blocks: Sequence[Block]) -> dict[Spec, tuple[int, ...]]:
    """Kernels that subsets of a segment merge into; of each spec one of the largest subsets.

    LayerMerge, section 3: a convolution may be left out where it keeps channels and size.
    """
    free = [
        i
        for i, b in enumerate(blocks)
        if b.operator.in_channels == b.operator.out_channels and b.operator.stride == (1, 1)
    ]
    bound = set(range(len(blocks))) - set(free)
    found: dict[Spec, tuple[int, ...]] = {}
    counts: dict[tuple[int, bool], list[int]] = {}
    for i in free:
        op = blocks[i].operator
        counts.setdefault((op.kernel_size[0], op.is_depthwise), []).append(i)
    for kept_free in _prefixes(list(counts.values())):
        kept = sorted(bound | kept_free)
        if kept:
            size = 1 + sum(blocks[i].operator.kernel_size[0] - 1 for i in kept)
            spec = size, all(blocks[i].operator.is_depthwise for i in kept)
            if len(kept) > len(found.get(spec, ())):
                found[spec] = tuple(kept)
    return found


def _prefixes(groups: list[list[int]]) -> Iterator[set[int]]:
    """Every number of each group's members: which of alike convolutions stay makes no spec."""
    if not groups:
        yield set()
        return
    for rest in _prefixes(groups[1:]):
        for count in range(len(groups[0]) + 1):
            yield rest | set(groups[0][:count])


class Clock:
    """Made-up times; equal convolutions take equally long."""

    def __init__(self, network: Network, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.known: dict[tuple[object, ...], float] = {}
        kept = [(b, b.operator.kernel_size[0], b.operator.is_depthwise) for b in network.blocks]
        total = sum(self._time(b, b, kernel, depthwise) for b, kernel, depthwise in kept)
        self.scale = network.original_ms / total

    def __call__(self, first: Block, last: Block, spec: Spec) -> tuple[float, float]:
        """(milliseconds, deviation) of a segment's convolution."""
        time = self.scale * self._time(first, last, *spec)
        return time, 0.02 * time

    def _time(self, first: Block, last: Block, kernel: int, depthwise: bool) -> float:
        before, after = first.layout.in_channels, last.layout.out_channels
        size, out = first.layout.input_size[0], last.layout.output_size[0]
        key = before, after, size, out, kernel, depthwise
        macs = out**2 * kernel**2 * after * (1 if depthwise else before)
        least = 0.05 + 2e-8 * (size**2 * before + out**2 * after)
        if key not in self.known:
            noise = np.exp(0.3 * self.random.normal())
            self.known[key] = float((least + 4e-10 * macs**0.97) * noise)
        return self.known[key]


def layermerge_files(network: Network, seed: int, *, normalised: bool = False) -> tuple[str, str]:
    """LayerMerge's time file and its importance file, as measured or normalised."""
    random, clock = np.random.default_rng([seed, 1]), Clock(network, seed)
    times = ["id,st,end,ker,str,is_dw,time,stdev"]
    told = "importance" if normalised else "train_loss,train_acc,val_loss,val_acc"
    scores = [f",id,st,end,ker,str,is_dw,conv_comb,{told}"]
    for start, end in network.segments:
        blocks = network.blocks[start:end]
        for (kernel, depthwise), kept in merged_specs(blocks).items():
            stride = int(np.prod([b.operator.stride[0] for b in blocks]))
            ms, deviation = clock(blocks[0], blocks[-1], (kernel, depthwise))
            row = len(times) - 1
            times.append(f"{row},{start},{end},{kernel},{stride},{depthwise},{ms!r},{deviation!r}")
            lost = _lost(random, end - start, 1 - len(kept) / len(blocks))
            comb = "({})".format("".join(f"{start + 1 + i}," for i in kept))
            what = repr(float(np.exp(-lost / POINTS))) if normalised else f"0.1,-1.0,0.1,{-lost!r}"
            scores.append(f'0,{row},{start},{end},{kernel},{stride},{depthwise},"{comb}",{what}')
    return "\n".join(times) + "\n", "\n".join(scores) + "\n"


def depth_files(network: Network, seed: int) -> tuple[str, str]:
    """The 2023 method's time file and its importance file, as measured."""
    random, clock = np.random.default_rng([seed, 2]), Clock(network, seed)
    times = ["id,st,end,time,stdev"]
    scores = [",id,st,end,st_act,end_act,train_loss,train_acc,val_loss,val_acc"]
    linear = {i + 1 for i, block in enumerate(network.blocks) if block.activation is None}
    for start, end in network.segments:
        blocks = network.blocks[start:end]
        kernel = 1 + sum(b.operator.kernel_size[0] - 1 for b in blocks)
        depthwise = all(b.operator.is_depthwise for b in blocks)
        ms, deviation = clock(blocks[0], blocks[-1], (kernel, depthwise))
        times.append(f"{len(times) - 1},{start},{end},{ms!r},{deviation!r}")
        for before, after in _ends(start, end, linear):
            lost = _lost(random, end - start, 0.0)
            row = f"0,{len(scores) - 1},{start},{end},{int(before)},{int(after)}"
            scores.append(f"{row},0.1,-1.0,0.1,{-lost!r}")
    return "\n".join(times) + "\n", "\n".join(scores) + "\n"


def _ends(start: int, end: int, linear: set[int]) -> list[tuple[bool, bool]]:
    """Whether an activation lies at either end: both ways at linear bottlenecks, not at once."""
    if start and start in linear:
        return [(True, True), (False, True)]
    if start and end in linear:
        return [(True, True), (True, False)]
    return [(True, True)]


def _lost(random: np.random.Generator, length: int, left_out: float) -> float:
    """Points of accuracy that a segment loses; a layer that was initialised again loses too."""
    most = 1.2 * length**1.25 + 25 * left_out
    return float(min(most * random.lognormal(0, 0.5) - 0.3, 72.0))
