"""The expanded form of a merge: its convolutions and norms, trainable, without activations.

The segment pads its input once and every convolution inside runs unpadded, so that this
form and the merged convolution are equal to rounding, borders included. A tensor inside
the segment carries a margin, the pixels before its first real one; whatever reads less
of it crops first.
"""

import itertools
from collections.abc import Collection, Sequence
from typing import Protocol, TypeGuard

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, fx, nn

from depthopt.core.chain import Chain, Layer
from depthopt.core.fold import Edge, edges_of, fold, fold_back
from depthopt.core.operators import AveragePooling, Convolution
from depthopt.core.shapes import Pair
from depthopt.errors import ModelError
from depthopt.graph.convolutions import conv_with
from depthopt.graph.trace import nodes_by_name
from depthopt.rewrite.affine import Affine


class Expanded(Protocol):
    """A module that is trained in another form than its final one."""

    def fused(self) -> nn.Module:
        """The final form, which computes the same in evaluation mode, to rounding."""
        ...


def is_expanded(module: object) -> TypeGuard[Expanded]:
    """Whether a module is trained in another form: its class has ``fused``."""
    return hasattr(type(module), "fused")


class ExpandedSegment(nn.Module):
    """Maps the tensor at a segment's start to the pre-activation tensor at its end.

    ``fused()`` gives the one convolution that computes the same.
    """

    def __init__(
        self,
        graph_module: fx.GraphModule,
        chain: Chain,
        segment: tuple[int, int],
        composed: Collection[int],
        convolution: Convolution,
    ) -> None:
        """Take over the composed convolutions and norms of a traced network.

        Args:
            graph_module: the traced network; its modules are shared, not copied.
            chain: its chain.
            segment: its first block, and one past its last.
            composed: the blocks whose convolutions stay; the others are identities.
            convolution: what the segment merges into.
        """
        super().__init__()
        start, end = segment
        self.convolution = convolution
        self.edges = edges_of(chain, start, end, composed=composed)
        self.layers = nn.ModuleDict()
        self._names: dict[Edge, str] = {}
        homes: dict[tuple[Layer, ...], tuple[str, str]] = {
            (Layer(block.name, block.convolution),): (f"block{i}", block.linear)
            for i, block in enumerate(chain.blocks[start:end])
        }
        for i, skip in enumerate(chain.covered(start, end)):
            homes[skip.branch] = f"skip{i}", skip.operand
        by_layers = {edge.layers: edge for edge in self.edges if edge.layers}
        for layers, (name, linear) in homes.items():
            if layers in by_layers:
                self._names[by_layers[layers]] = name
                self.layers[name] = _take(graph_module, layers, linear)
        if not self.layers:  # no parameter tells its type and place
            parameter = next(graph_module.parameters())
            self.register_buffer("like", parameter.new_zeros(()), persistent=False)
        self._margins = fold_back(self.edges, (0, 0), self._margin_needed, _most)

    def _layer(self, edge: Edge) -> "_Layer | None":
        """What an edge goes through; None for an identity."""
        if edge not in self._names:
            return None
        layer = self.layers[self._names[edge]]
        return layer if isinstance(layer, _Layer) else None

    def _margin_needed(self, edge: Edge, after: Pair) -> Pair:
        """(height, width) of the margin at an edge's source that gives one at its target."""
        layer = self._layer(edge)
        return after if layer is None else layer.margin_needed(after)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) at the segment's start to (N, C', H', W') at its end."""
        return fold(self.edges, F.pad(x, self.convolution.padding), self._through, _cropped_sum)

    def _through(self, edge: Edge, value: Tensor) -> Tensor:
        """The tensor at an edge's source, cropped, through its layer if any."""
        layer = self._layer(edge)
        need = self._margin_needed(edge, self._margins[edge.target])
        margin = self._margins[edge.source]
        cropped = value[..., margin[0] - need[0] :, margin[1] - need[1] :]
        return cropped if layer is None else layer(cropped)

    def operator(self) -> Affine:
        """The whole segment as one affine operator, computed in float64."""
        like = next(itertools.chain(self.parameters(), self.buffers())).detach().double()

        def through(edge: Edge, value: Affine) -> Affine:
            layer = self._layer(edge)
            return value if layer is None else value.then(layer.operator())

        first = Affine.identity(self.convolution.in_channels, like)
        return fold(self.edges, first, through, Affine.plus)

    def fused(self) -> nn.Conv2d:
        """The one convolution that computes the same."""
        operator = self.operator()
        return conv_with(self.convolution, operator.weight, operator.bias, self)


def _most(needs: list[Pair]) -> Pair:
    return max(height for height, _ in needs), max(width for _, width in needs)


def _cropped_sum(value: Tensor, side: Tensor) -> Tensor:
    """The sum of two tensors where both have pixels."""
    height, width = min(value.shape[2], side.shape[2]), min(value.shape[3], side.shape[3])
    return value[..., :height, :width] + side[..., :height, :width]


class _Layer(nn.Module):
    """A pooling if any, a convolution if any, and a norm if any, which run unpadded."""

    def __init__(
        self, pool: AveragePooling | None, conv: nn.Conv2d | None, norm: nn.BatchNorm2d | None
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
        assert layer is not None  # noqa: S101 - narrows nn.Module | None: one of both is there
        operator = Affine.of(layer, None if self.conv is None else self.norm)
        if self.pool is not None:
            operator = Affine.pooling(self.pool, operator.weight).then(operator)
        return operator


def _take(graph_module: fx.GraphModule, layers: Sequence[Layer], linear: str) -> _Layer:
    """A block's or a skip's layers, with the norm, if any, whose node is ``linear``."""
    *before, last = layers
    pool = next((b.operator for b in before if isinstance(b.operator, AveragePooling)), None)
    layer = graph_module.get_submodule(last.name)
    if isinstance(layer, nn.BatchNorm2d):
        return _Layer(pool, None, layer)
    if not isinstance(layer, nn.Conv2d):
        raise ModelError(f"{last.name} is not a convolution; was the chain made for another model?")
    node = nodes_by_name(graph_module)[linear]
    norm = None if node.target == last.name else graph_module.get_submodule(str(node.target))
    return _Layer(pool, layer, norm if isinstance(norm, nn.BatchNorm2d) else None)
