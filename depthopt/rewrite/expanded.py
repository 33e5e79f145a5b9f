"""The expanded form of a merge: its convolutions and norms, trainable, without activations.

The segment pads its input once and every convolution inside runs unpadded, so that this
form and the merged convolution are equal to rounding, borders included. A tensor inside
the segment carries a margin, the pixels before its first real one; whatever reads less
of it crops first.
"""

from dataclasses import dataclass

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, fx, nn

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.spec import ConvSpec, Pair
from depthopt.errors import ModelError
from depthopt.graph.convolutions import conv_with
from depthopt.graph.trace import nodes_by_name
from depthopt.rewrite.affine import Affine


@dataclass(frozen=True, slots=True)
class _Branch:
    """A skip that is merged: positions relative to the segment's start."""

    source: int
    target: int
    projection: str | None


class ExpandedSegment(nn.Module):
    """Maps the tensor at a segment's start to the pre-activation tensor at its end.

    ``merged()`` gives the one convolution that computes the same.
    """

    def __init__(self, graph_module: fx.GraphModule, chain: Chain, candidate: Candidate) -> None:
        """Take over the kept convolutions and norms of a traced network.

        Args:
            graph_module: the traced network; its modules are shared, not copied.
            chain: its chain.
            candidate: of kind ``merge``.
        """
        super().__init__()
        assert candidate.spec is not None  # noqa: S101 - a merge always has one
        start, end = candidate.start, candidate.end
        self.spec = candidate.spec
        self.length = end - start
        self.kept = frozenset(block - start for block in candidate.kept)
        covered = chain.covered(start, end)
        self.branches = tuple(
            _Branch(s.source - start, s.target - start, s.projection_name and f"skip{i}")
            for i, s in enumerate(covered)
        )
        self.layers = nn.ModuleDict()
        for block in candidate.kept:
            found = chain.blocks[block]
            self.layers[f"block{block - start}"] = _take(graph_module, found.name, found.linear)
        for branch, skip in zip(self.branches, covered, strict=True):
            if branch.projection is not None and skip.projection_name is not None:
                self.layers[branch.projection] = _take(
                    graph_module, skip.projection_name, skip.branch, skip.pool
                )
        self.margins = self._margins()

    def _layer(self, name: str) -> "_Layer":
        layer = self.layers[name]
        assert isinstance(layer, _Layer)  # noqa: S101 - put there by __init__
        return layer

    def _margins(self) -> list[Pair]:
        """(height, width) of the margin before the first real pixel, by position."""
        margins: list[Pair] = [(0, 0)] * (self.length + 1)
        for position in reversed(range(self.length)):
            needs = [margins[position + 1]]
            if position in self.kept:
                needs = [self._layer(f"block{position}").margin_needed(needs[0])]
            for branch in self.branches:
                if branch.source == position:
                    need = margins[branch.target]
                    if branch.projection is not None:
                        need = self._layer(branch.projection).margin_needed(need)
                    needs.append(need)
            margins[position] = (max(n[0] for n in needs), max(n[1] for n in needs))
        return margins

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) at the segment's start to (N, C', H', W') at its end."""
        values = [F.pad(x, self.spec.padding)]
        for position in range(self.length):
            need = self.margins[position + 1]
            value = self._through(position, f"block{position}", position in self.kept, need, values)
            for branch in self.branches:
                if branch.target == position + 1:
                    name = branch.projection
                    side = self._through(branch.source, name or "", name is not None, need, values)
                    height = min(value.shape[2], side.shape[2])
                    width = min(value.shape[3], side.shape[3])
                    value = value[..., :height, :width] + side[..., :height, :width]
            values.append(value)
        return values[-1]

    def _through(
        self, position: int, name: str, convolves: bool, need: Pair, values: list[Tensor]
    ) -> Tensor:
        """The tensor at ``position``, cropped, through a layer if any."""
        if convolves:
            need = self._layer(name).margin_needed(need)
        margin = self.margins[position]
        cropped = values[position][..., margin[0] - need[0] :, margin[1] - need[1] :]
        return self._layer(name)(cropped) if convolves else cropped

    def operator(self) -> Affine:
        """The whole segment as one affine operator, computed in float64."""
        like = next(self.parameters()).detach().double()
        channels = self.spec.in_channels
        at = [Affine.identity(channels, like)]
        for position in range(self.length):
            value = at[position]
            if position in self.kept:
                value = value.then(self._layer(f"block{position}").operator())
            for branch in self.branches:
                if branch.target == position + 1:
                    side = at[branch.source]
                    if branch.projection is not None:
                        side = side.then(self._layer(branch.projection).operator())
                    value = value.plus(side)
            at.append(value)
        return at[-1]

    def merged(self) -> nn.Conv2d:
        """The one convolution that computes the same."""
        operator = self.operator()
        return conv_with(self.spec, operator.weight, operator.bias, self)


class _Layer(nn.Module):
    """A pooling if any, a convolution if any, and a norm if any, which run unpadded."""

    def __init__(
        self, pool: ConvSpec | None, conv: nn.Conv2d | None, norm: nn.BatchNorm2d | None
    ) -> None:
        super().__init__()
        self.pool = pool
        self.conv = conv
        self.norm = norm
        window = self.operator().window
        self.stride = window.stride
        self.before = (-window.offset[0], -window.offset[1])

    def margin_needed(self, after: Pair) -> Pair:
        """The input's margin that gives an output margin of ``after``."""
        stride = self.stride
        return stride[0] * after[0] + self.before[0], stride[1] * after[1] + self.before[1]

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = F.avg_pool2d(x, self.pool.kernel_size, self.pool.stride)
        if (conv := self.conv) is not None:
            x = F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)
        return x if self.norm is None else self.norm(x)

    def operator(self) -> Affine:
        """The layer as an affine operator, in float64."""
        layer = self.norm if self.conv is None else self.conv
        assert layer is not None  # noqa: S101 - a block or a projection is one of both
        operator = Affine.of(layer, None if self.conv is None else self.norm)
        if self.pool is not None:
            operator = Affine.pooling(self.pool, operator.weight).then(operator)
        return operator


def _take(
    graph_module: fx.GraphModule, name: str, linear: str, pool: ConvSpec | None = None
) -> _Layer:
    """The convolution or norm of that path, with the norm, if any, whose node is ``linear``."""
    layer = graph_module.get_submodule(name)
    if isinstance(layer, nn.BatchNorm2d):
        return _Layer(pool, None, layer)
    if not isinstance(layer, nn.Conv2d):
        raise ModelError(f"{name} is no convolution; was the chain made for another model?")
    node = nodes_by_name(graph_module)[linear]
    norm = None if node.target == name else graph_module.get_submodule(str(node.target))
    return _Layer(pool, layer, norm if isinstance(norm, nn.BatchNorm2d) else None)
