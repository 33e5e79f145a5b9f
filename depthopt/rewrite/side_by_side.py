"""Run a shallow network beside its original, to regress convolutions on what they see."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs
from depthopt.core.operators import Convolution
from depthopt.core.workload import Workload
from depthopt.errors import DataError
from depthopt.graph.beginning import parted
from depthopt.graph.partial import Tail
from depthopt.graph.replay import MOST_BYTES, Replay, Wish
from depthopt.graph.trace import nodes_by_name
from depthopt.rewrite.factored import factored
from depthopt.rewrite.inner import Inner
from depthopt.rewrite.narrowing import narrowed
from depthopt.rewrite.regression import Fitted, Regression, best_fits, error_of
from depthopt.rewrite.segment_tensors import SegmentTensors
from depthopt.rewrite.tokens import as_map, channels_first

HELD_OUT_EVERY, MOST_HELD_OUT = 5, 4
"""One calibration batch in this many is held out to choose the regularisation, up to a maximum.
Held-out batches are kept in memory, others only if they all fit."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a convolution stands in a shallow network.

    Attributes:
        name: path of its module, or name of the node that reads what it is to read.
        last: path of the norm behind it, or its own where there is none; or a node's name.
        convolution: the two together.
        adds: how many residuals are added to what they give.
        wanted: the original's node of the tensor behind those adds.
        through: two of the original's nodes, where the convolution is to read not what the module
            at ``name`` does, but what the original makes of it on the way from one to the other.
        inner: what the original makes of that again, up to what the convolution is to read.
        hidden: whether it reads what a branch's last linear layer does, its channels last.
    """

    name: str
    last: str
    convolution: Convolution
    adds: int
    wanted: str
    through: tuple[str, str] | None = None
    inner: Inner | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What a convolution saw on calibration images.

    Attributes:
        regression: over most batches.
        convolution: what it is.
        inputs: (N, C, H, W) of the batches held out.
        wanted: (N, C', H', W') that it should give for them.
        inner: what is regressed with it, if anything is.
    """

    regression: Regression
    convolution: Convolution
    inputs: Tensor
    wanted: Tensor
    inner: Inner | None = None

    def best(
        self, ridges: Iterable[float], prior: Tensor | None = None, *, to_identity: bool = False
    ) -> Fitted:
        """The solution whose ridge is best on the batches held out.

        Args:
            ridges: strengths to try.
            prior: the weight that it is drawn to; 0 without it.
            to_identity: whether it is drawn to the identity.
        """
        targets: Mapping[str, Tensor] = {_ONLY: self.wanted}
        priors = None if prior is None else {_ONLY: prior}
        priors = self.regression.identities() if to_identity else priors
        return best_fits(self.regression, self.convolution, self.inputs, targets, ridges, priors)[
            _ONLY
        ]

    def factored(
        self,
        factors: tuple[Convolution, Convolution],
        ridges: Iterable[float],
        *,
        to_identity: bool,
    ) -> Fitted:
        """Two convolutions in a row in its place (``depthopt.rewrite.factored``)."""
        dense = self.best(ridges, to_identity=to_identity)
        return factored(
            self.regression, self.convolution, factors, dense, self.inputs, self.wanted,
            target=_ONLY, to_identity=to_identity,
        )  # fmt: skip

    def narrowed(self, weight: Tensor, count: int, together: int) -> Fitted:
        """The solution for fewer input channels (``depthopt.rewrite.narrowing``).

        Args:
            weight: that it has for all of them, and is held to.
            count: how many stay.
            together: consecutive ones that stay or go together.
        """
        inner = None if self.inner is None else self.inner.narrowed
        return narrowed(
            self.regression, self.convolution, self.inputs, self.wanted, weight.to(self.inputs),
            [count], target=_ONLY, together=together, inner=inner,
        )[count]  # fmt: skip

    def error(self, weight: Tensor, bias: Tensor) -> float:
        """The error of some weights on the batches held out, as ``Fitted.error``."""
        weight, bias = weight.to(self.inputs), bias.to(self.inputs)
        return error_of(self.inputs, weight, bias, self.convolution, self.wanted)


_ONLY = "only"
"""The regression's one target."""


class SideBySide:
    """Runs a shallow network and its original on the same calibration images.

    Attributes:
        student: the shallow network, traced; its weights may change from one place to the next.
        teacher: the original, traced, its norms folded, from where the two part.
    """

    def __init__(
        self,
        student: fx.GraphModule,
        teacher: fx.GraphModule,
        batches: Collection[Inputs],
        alike: str | None = None,
    ) -> None:
        """Take two networks and batches of inputs, the same every time.

        Args:
            student: the shallow network.
            teacher: the original.
            batches: of inputs.
            alike: node up to which both compute the same, and go on to; that runs once for both.
                None where nothing is known to be alike.
        """
        self.student = student
        parts = parted(student, teacher, batches, alike)
        self.teacher = parts.second
        self._replay = Replay((parts.first, parts.second), parts.batches)
        calls = (node for node in parts.first.graph.nodes if node.op == "call_module")
        self._calls = {str(node.target): node for node in calls}
        self._nodes, self._wanted = nodes_by_name(parts.first), nodes_by_name(parts.second)

    @torch.no_grad()
    def observe(self, place: Place) -> Observed:
        """Run all images once up to a convolution, before which nothing changes any more.

        Wanted is what brings the *shallow* network's tensor at the end of the segment, its
        residual adds included, closest to the original's.

        Raises:
            DataError: there are too few batches to hold one out, or a tensor is not finite.
        """
        conv, wanted = self._node(place.name), self._wanted[place.wanted]
        added = tuple(_added_to(self._node(place.last), place.adds))
        ends = SegmentTensors(conv.all_input_nodes[0].name, added, wanted.name)
        channels = place.convolution.out_channels
        regression = Regression(place.convolution, {_ONLY: channels}, self._replay.device)
        held_out: list[tuple[Tensor, Tensor]] = []
        before = self._through(*place.through) if place.through else None
        wishes = (
            Wish(frozenset({ends.input, *ends.added}), conv),
            Wish(frozenset({ends.target, *(before.needs if before else ())}), wanted.next),
        )
        for index, (seen, given) in enumerate(self._replay(*wishes)):
            inputs, target = seen[ends.input], ends.wanted(given[ends.target], seen)
            inputs = inputs if before is None else before(inputs, given)
            inputs = channels_first(inputs) if place.hidden else as_map(inputs)
            target = as_map(target)
            is_held_out = index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
            is_held_out &= len(held_out) < MOST_HELD_OUT
            if place.inner is not None:
                (place.inner.hold_out if is_held_out else place.inner.add)(inputs)
                inputs = place.inner.through(inputs)
            if not (_finite(inputs) and _finite(target)):
                raise DataError(
                    f"the tensors {ends.input} or {ends.target} hold NaN or infinite values on "
                    "calibration images; check the weights and the images"
                )
            if is_held_out:
                held_out.append((inputs, target))
            else:
                regression.add(inputs, {_ONLY: target})
        if not held_out:
            raise DataError(
                f"{len(self._replay)} calibration batches are too few to fit {place.name}: one in "
                f"{HELD_OUT_EVERY} is held out; give at least {HELD_OUT_EVERY} batches"
            )
        inputs, target = (torch.cat(tensors) for tensors in zip(*held_out, strict=True))
        return Observed(regression, place.convolution, inputs, target, place.inner)

    def _node(self, name: str) -> fx.Node:
        """The shallow network's node that calls a module of this path, or has this name."""
        return self._calls[name] if name in self._calls else self._nodes[name]

    def _through(self, first: str, last: str) -> Tail:
        """What the original makes of one node's value on the way to another."""
        return Tail(self.teacher, self._wanted[first], until=self._wanted[last])


def observing_workload(chain: Chain, images: int, solves: int) -> Workload:
    """The work of observing every block's convolution, from left to right, and of solving.

    Of two networks like the original, the shallow one runs up to the block and the other through
    it, both from the last place whose tensors fit into memory for all images. A solution, and the
    weight that there was, are tried on what is held out.
    """
    macs = [block.macs for block in chain.blocks]
    shallow = original = passed = kept = 0
    for position in range(len(macs)):
        passed += sum(macs[shallow:position]) + sum(macs[original : position + 1])
        needed = 4 * images * _values_at(chain, position)
        if needed <= MOST_BYTES:
            shallow, original, kept = position, position + 1, max(kept, needed)
    tried = (solves + 1) * images / HELD_OUT_EVERY
    # While a pass goes on, both networks hold what the last one kept, too.
    return Workload(forward_images=images * passed / sum(macs) + tried, memory_bytes=4 * kept)


def _values_at(chain: Chain, position: int) -> int:
    """Numbers per image that all behind a position is computed from."""
    open_at = {skip.source for skip in chain.skips if skip.source < position < skip.target}
    layouts = [chain.blocks[i].layout for i in {position, *open_at}]
    return sum(layout.in_channels * math.prod(layout.input_size) for layout in layouts)


def _finite(tensor: Tensor) -> bool:
    """Whether all numbers are; several times as quick as asking each."""
    return all(map(math.isfinite, torch.stack(tensor.aminmax()).tolist()))


def _added_to(node: fx.Node, adds: int) -> Iterator[str]:
    """The names of the tensors that the next ``adds`` additions add to ``node``."""
    for _ in range(adds):
        (user,) = node.users
        left, right = user.all_input_nodes
        yield (right if left is node else left).name
        node = user
