"""A network as a chain of blocks: what extraction finds and what plans are made of.

Block ``i`` lies between position ``i`` and position ``i + 1``. A segment
``[start, end)`` is a run of consecutive blocks. Names of torch.fx nodes tie the
chain to the traced model; tracing is deterministic, so they stay valid.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from depthopt.core.spec import ConvSpec, Pair


@dataclass(frozen=True, slots=True)
class Block:
    """A convolution, its norm if any, its activation if any.

    Where a residual add ends at the block (see ``Skip``), it lies between the norm
    and the activation: ``output = activation(norm(conv(input)) + skip)``.

    Attributes:
        name: path of the convolution's module, for instance ``layer1.0.conv1``.
        spec: the convolution with its norm folded in.
        input_size: (height, width) of the input.
        output_size: (height, width) of the output.
        activation: canonical name (``relu``, ``relu6``, ``silu``, ...) or None.
        input: fx node whose value is the tensor at the block's position.
        linear: fx node of the convolution's or its norm's output, before any add.
        preactivation: fx node behind the adds, before the activation.
        output: fx node of the block's output, after add and activation.
    """

    name: str
    spec: ConvSpec
    input_size: Pair
    output_size: Pair
    activation: str | None
    input: str
    linear: str
    preactivation: str
    output: str


@dataclass(frozen=True, slots=True)
class Skip:
    """A residual add at position ``target`` of the tensor at position ``source``.

    Attributes:
        source: position of the tensor that is added.
        target: position of the sum (after the activation that follows the add).
        add: fx node of the addition.
        branch: fx node of the added operand: the tensor at ``source``, or the
            projection's output.
        projection: the linear convolution on the skip, or None for an identity.
        projection_name: path of that convolution's module, or None.
    """

    source: int
    target: int
    add: str
    branch: str
    projection: ConvSpec | None = None
    projection_name: str | None = None


@dataclass(frozen=True, slots=True)
class Barrier:
    """A position that no segment may cross, and why."""

    position: int
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unused:
    """A node that could not become part of the chain, and why."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Chain:
    """A traced network as blocks in topological order.

    Attributes:
        model: the model's name, for messages and for matching plans to models.
        input_size: (channels, height, width) of the network's input.
        blocks: block ``i`` lies between positions ``i`` and ``i + 1``.
        skips: residual adds whose whole span lies in the chain.
        barriers: positions that no segment may cross.
        unused: convolutions and adds that no segment can replace.
    """

    model: str
    input_size: tuple[int, int, int]
    blocks: tuple[Block, ...]
    skips: tuple[Skip, ...]
    barriers: tuple[Barrier, ...]
    unused: tuple[Unused, ...]

    def why_illegal(self, start: int, end: int) -> str | None:
        """The reason why ``[start, end)`` cannot be replaced, or None if it can.

        A segment is legal if no barrier lies strictly inside and every skip's span is
        disjoint from it, covers it, or is covered by it.
        """
        if not 0 <= start < end <= len(self.blocks):
            return f"[{start}, {end}) is not a run of blocks of 0..{len(self.blocks)}"
        for barrier in self.barriers:
            if start < barrier.position < end:
                return f"crosses the barrier at {barrier.position}: {barrier.reason}"
        for skip in self.skips:
            if start < skip.source < end < skip.target or skip.source < start < skip.target < end:
                return f"crosses in part the skip from {skip.source} to {skip.target}"
        return None

    def segments(self, max_length: int | None = None) -> Iterator[tuple[int, int]]:
        """All legal segments ``(start, end)`` of at most ``max_length`` blocks."""
        n = len(self.blocks)
        for start in range(n):
            last = n if max_length is None else min(n, start + max_length)
            for end in range(start + 1, last + 1):
                if self.why_illegal(start, end) is None:
                    yield start, end

    def covered(self, start: int, end: int) -> tuple[Skip, ...]:
        """The skips that lie wholly in ``[start, end)`` and vanish with it."""
        return tuple(s for s in self.skips if start <= s.source and s.target <= end)

    def open_skips(self, start: int, end: int) -> tuple[Skip, ...]:
        """The skips that end at ``end`` but begin before ``start``: their adds stay."""
        return tuple(s for s in self.skips if s.target == end and s.source < start)
