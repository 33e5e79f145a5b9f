"""Choose among stand-ins that differ in their weights alone, and regress their last layers."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs, moved
from depthopt.core.operators import Attention, Convolution, Mlp
from depthopt.errors import DataError
from depthopt.graph.partial import record
from depthopt.kinds.registry import kind_of
from depthopt.kinds.site import Weights
from depthopt.rewrite.problem import sums_bytes
from depthopt.rewrite.regression import Regression, best_fits, error_of
from depthopt.rewrite.ridges import COMPENSATION_RIDGES
from depthopt.rewrite.stand_in import Last, StandIn
from depthopt.rewrite.tokens import as_map, channels_first

_END = "end"
"""The regressions' one target."""


def stand_ins_of(
    network: fx.GraphModule, chain: Chain, candidates: Sequence[Candidate]
) -> dict[Candidate, StandIn]:
    """The parts of networks that stand in the place of segments, where candidates are such.

    Raises:
        ModelError: a candidate's blocks differ in something else than their weights.
    """
    found = dict[Candidate, StandIn]()
    for candidate in candidates:
        if (make := kind_of(candidate).stand_in) is not None:
            found[candidate] = make(network, chain, candidate)
    return found


def alternatives(candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, ...]]:
    """The candidates that are stand-ins, together where they run the same in one place."""
    groups: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
    for c in candidates:
        if kind_of(c).stand_in is not None:
            groups[c.kind, c.start, c.end, c.operators, c.activation].append(c)
    yield from map(tuple, groups.values())


def last_layer(candidate: Candidate) -> Convolution | None:
    """The last linear layer of a stand-in where tokens are pixels. None if it ends otherwise."""
    last = candidate.operators[-1]
    if isinstance(last, Attention | Mlp):
        return Convolution(last.hidden, last.out_channels, (1, 1))
    return None


def sums_of(candidate: Candidate) -> int:
    """Memory of the sums that its last layer is regressed from, in bytes."""
    layer = last_layer(candidate)
    return 0 if layer is None else sums_bytes(layer, layer.out_channels)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The nearest of some alternatives, whose last layer is regressed.

    Attributes:
        candidate: it.
        last: its last layer.
        target: node of the tensor at the segment's end.
        regression: over the layer's inputs.
    """

    candidate: Candidate
    last: Last
    target: str
    regression: Regression

    @torch.no_grad()
    def add(self, values: Mapping[str, Tensor]) -> None:
        """Accumulate one batch."""
        inputs, wanted = self._seen(values)
        self.regression.add(inputs, {_END: wanted})

    @torch.no_grad()
    def solved(self, values: Mapping[str, Tensor]) -> Weights:
        """The layer's weights that serve held-out data best, those that it has among them."""
        (inputs, wanted), (weight, bias) = self._seen(values), self.last.layers.weights()
        spec = self.last.convolution
        best = best_fits(
            self.regression, spec, inputs, {_END: wanted}, COMPENSATION_RIDGES, {_END: weight}
        )[_END]
        if best.error < error_of(inputs, weight, bias, spec, wanted):
            return ((best.weight, best.bias),)
        return ((weight, bias),)

    def _seen(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        hidden, added = self.last.seen(values)
        return channels_first(hidden), as_map(values[self.target] - added)


def regress_stand_ins(
    stand_ins: Mapping[Candidate, StandIn],
    teacher: fx.GraphModule,
    chain: Chain,
    *,
    fitting: Collection[Inputs],
    held_out: Inputs,
    adjusted: bool,
    pool: Executor,
    step: Callable[[], None],
) -> dict[Candidate, Weights]:
    """Of every segment the stand-in that comes nearest, and the weights of its last layer.

    Nearest is the tensor at the segment's end, on held-out data and before anything is regressed.
    No weights are given where the last layer cannot be regressed.

    Args:
        stand_ins: of all candidates.
        teacher: the original network, traced, its norms folded.
        chain: its chain.
        fitting: batches of inputs to regress on.
        held_out: a batch to choose on.
        adjusted: whether last layers are regressed, as where plans compensate.
        pool: works at several segments at a time.
        step: called after every batch.

    Raises:
        DataError: a tensor is not finite.
    """
    like = next(teacher.parameters())
    names = set[str]().union(*(each.reads for each in stand_ins.values()))
    targets = {c: chain.ending(c.start, c.end).preactivation for c in stand_ins}
    names.update(targets.values())
    ahead = record(teacher, moved(held_out, like), names)

    def error(candidate: Candidate) -> float:
        wanted = ahead[targets[candidate]]
        found = float((stand_ins[candidate].output(ahead) - wanted).square().mean())
        if found != found:  # noqa: PLR0124 - NaN alone is not itself
            raise DataError(
                f"the tensor {targets[candidate]} holds NaN or infinite values on held-out images"
            )
        return found

    def nearest(members: tuple[Candidate, ...]) -> Candidate:
        return min(members, key=error)

    groups = [pool.submit(nearest, members) for members in alternatives(list(stand_ins))]
    weights: dict[Candidate, Weights] = {done.result(): () for done in groups}
    chosen = list[_Chosen]()
    for candidate in weights if adjusted else ():
        if (last := stand_ins[candidate].last()) is not None:
            layer = last.convolution
            regression = Regression(layer, {_END: layer.out_channels}, like.device)
            chosen.append(_Chosen(candidate, last, targets[candidate], regression))
    for inputs in fitting if chosen else ():
        values = record(teacher, moved(inputs, like), names)
        for added in [pool.submit(each.add, values) for each in chosen]:
            added.result()
        step()
        del values  # before the next batch's are there
    for each, done in [(each, pool.submit(each.solved, ahead)) for each in chosen]:
        weights[each.candidate] = done.result()
    return weights
