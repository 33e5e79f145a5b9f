"""The window of a run of convolutions: stride, offset and size of the merged kernel.

Output pixel ``y`` of the run reads the input pixels ``y * stride + offset`` to
``y * stride + offset + size - 1``. Composition and addition of windows follow from
this, borders and asymmetric padding included, without any weight.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from depthopt.core.chain import Chain, Skip
from depthopt.core.fold import Edge, edges_of, fold
from depthopt.core.operators import AveragePooling, Convolution, Operator
from depthopt.core.shapes import Pair, Sides


@dataclass(frozen=True, slots=True)
class Window:
    """The input pixels that one output pixel reads, and the channel groups.

    Attributes:
        stride: (height, width).
        offset: (height, width) of the first pixel read for output pixel 0; minus the
            padding.
        size: (height, width) of the kernel.
        groups: number of blocks of the weight's block diagonal.
    """

    stride: Pair
    offset: Pair
    size: Pair
    groups: int

    @classmethod
    def identity(cls, channels: int) -> "Window":
        """The window of an operator that changes nothing."""
        return cls((1, 1), (0, 0), (1, 1), channels)

    @classmethod
    def of(cls, operator: Operator) -> "Window":
        """The window of one operator."""
        if not isinstance(operator, (Convolution, AveragePooling)):
            return cls.identity(operator.in_channels)
        left, _, top, _ = operator.padding
        size = operator.effective_kernel_size
        return cls(operator.stride, (-top, -left), size, operator.groups)

    def then(self, after: "Window") -> "Window":
        """The window of ``after`` applied to this operator's output."""
        return Window(
            (self.stride[0] * after.stride[0], self.stride[1] * after.stride[1]),
            (
                self.offset[0] + self.stride[0] * after.offset[0],
                self.offset[1] + self.stride[1] * after.offset[1],
            ),
            (
                self.size[0] + (after.size[0] - 1) * self.stride[0],
                self.size[1] + (after.size[1] - 1) * self.stride[1],
            ),
            math.gcd(self.groups, after.groups),
        )

    def plus(self, other: "Window") -> "Window":
        """The window of the sum of two operators with the same stride."""
        if self.stride != other.stride:
            raise ValueError(f"windows of strides {self.stride} and {other.stride} do not add")
        low = (min(self.offset[0], other.offset[0]), min(self.offset[1], other.offset[1]))
        high = (
            max(self.offset[0] + self.size[0], other.offset[0] + other.size[0]),
            max(self.offset[1] + self.size[1], other.offset[1] + other.size[1]),
        )
        size = (high[0] - low[0], high[1] - low[1])
        return Window(self.stride, low, size, math.gcd(self.groups, other.groups))

    def centred(self, kernel_size: Pair) -> "Window":
        """A window of another kernel size around the same centre (rounded down)."""
        return Window(
            self.stride,
            (
                (2 * self.offset[0] + self.size[0] - kernel_size[0]) // 2,
                (2 * self.offset[1] + self.size[1] - kernel_size[1]) // 2,
            ),
            kernel_size,
            self.groups,
        )

    def padding(self, input_size: Pair, output_size: Pair) -> Sides:
        """(left, right, top, bottom) under which a convolution gives ``output_size``.

        A negative side crops. Where several amounts serve, both sides are padded alike.
        """
        top, bottom = _sides(0, self, input_size, output_size)
        left, right = _sides(1, self, input_size, output_size)
        return left, right, top, bottom

    def convolution(
        self, in_channels: int, out_channels: int, input_size: Pair, output_size: Pair
    ) -> Convolution:
        """The convolution with this window."""
        return Convolution(
            in_channels,
            out_channels,
            self.size,
            self.stride,
            self.padding(input_size, output_size),
            groups=self.groups,
        )


def _sides(axis: int, window: Window, input_size: Pair, output_size: Pair) -> Pair:
    stride, size, before = window.stride[axis], window.size[axis], -window.offset[axis]
    needed = (output_size[axis] - 1) * stride + size - before - input_size[axis]
    most = needed + stride - 1
    return before, before if needed <= before <= most else min(max(needed, 0), most)


def segment_window(
    chain: Chain,
    start: int,
    end: int,
    *,
    composed: Collection[int] | None = None,
    skips: Collection[Skip] | None = None,
) -> Window:
    """The window of a segment whose activations are removed.

    Args:
        chain: the network.
        start: first block.
        end: one past the last block.
        composed: the blocks whose convolutions stay, the others being identities; all if None.
        skips: the skips that are merged with it; those that it covers if None.
    """

    def through(edge: Edge, window: Window) -> Window:
        for layer in edge.layers:
            window = window.then(Window.of(layer.operator))
        return window

    edges = edges_of(chain, start, end, composed=composed, skips=skips)
    first = Window.identity(chain.blocks[start].layout.in_channels)
    return fold(edges, first, through, Window.plus)


def region_window(chain: Chain, start: int, end: int) -> Window | None:
    """The window of a segment that crosses barriers, as far as its blocks define it.

    Blocks that lead from one size to the next are composed, others (those of a gate, for
    instance) passed over. If pooling or upsampling lies between, the window is that of a
    whole-image convolution whose stride is the ratio of the sizes.

    Returns:
        None if no stride leads from the segment's input size to its output size.
    """
    first, output_size = chain.blocks[start], chain.ending(start, end).size
    window, size = Window.identity(1), first.layout.input_size
    for block in chain.blocks[start:end]:
        if block.layout.input_size == size:
            window = window.then(Window.of(block.operator))
            size = block.layout.output_size
    if size == output_size:
        return Window(window.stride, window.offset, window.size, 1)
    (height, width), (rows, columns) = first.layout.input_size, output_size
    stride = (-(-height // rows), -(-width // columns))
    if (-(-height // stride[0]), -(-width // stride[1])) != output_size:
        return None
    return Window(stride, (1 - height, 1 - width), (2 * height - 1, 2 * width - 1), 1)
