"""A network as a chain of blocks: what extraction finds and what plans are made of.

Block ``i`` lies between position ``i`` and position ``i + 1``. A segment
``[start, end)`` is a run of consecutive blocks. Names of torch.fx nodes tie the
chain to the traced model; tracing is deterministic, so they stay valid.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from depthopt.core import numbers
from depthopt.core.counted import counted
from depthopt.core.inputs import InputSize, size_text
from depthopt.core.operators import Activation, AnyOperator, AveragePooling, Convolution
from depthopt.core.shapes import Pair


@dataclass(frozen=True, slots=True)
class Layout:
    """The tensors that a block reads and writes: maps (N, C, H, W), or tokens (N, T, C).

    Attributes:
        in_channels: channels of the input.
        input_size: (height, width) of the input; (T, 1) of tokens.
        out_channels: channels of the output.
        output_size: (height, width) of the output; (T, 1) of tokens.
    """

    in_channels: numbers.Count
    input_size: tuple[numbers.Size, numbers.Size]
    out_channels: numbers.Count
    output_size: tuple[numbers.Size, numbers.Size]


@dataclass(frozen=True, slots=True)
class Layer:
    """An operator with the module that holds its weights.

    Attributes:
        name: path of the module, for instance ``layer1.0.downsample.0``.
        operator: what it computes, its norm folded in.
    """

    name: str
    operator: Convolution | AveragePooling


@dataclass(frozen=True, slots=True, repr=False)
class Block:
    """A convolution, its norm if any, its activation if any; or a branch of a transformer.

    A norm that no convolution can absorb, as before the convolutions of a pre-activation
    network, is a block too: a depthwise 1x1 convolution.

    Where a residual add ends at the block (see ``Skip``), it commonly lies between the
    norm and the activation: ``output = activation(norm(conv(input)) + skip)``.

    Attributes:
        name: path of the convolution's module, for instance ``layer1.0.conv1``; of the
            norm's, where there is no convolution; of what holds a branch's linear layers,
            for instance ``blocks.0.attn``.
        operator: the convolution with its norm folded in; or the attention or MLP.
        layout: the tensors before and behind it.
        activation: what follows, or None.
        input: fx node whose value is the tensor at the block's position.
        linear: fx node of the convolution's or its norm's output, before any add.
        preactivation: fx node behind the adds, before the activation.
        output: fx node of the block's output, after add and activation.
        reader: fx node that reads the tensor at the block's position, where that does not call
            the module ``name``; else None.
        hidden: of a branch the fx node that its last linear layer reads; else None.
    """

    name: str
    operator: AnyOperator
    layout: Layout
    activation: Activation | None
    input: str
    linear: str
    preactivation: str
    output: str
    reader: str | None = None
    hidden: str | None = None

    @property
    def convolution(self) -> Convolution:
        """The block's operator.

        Raises:
            ValueError: it is not a convolution.
        """
        if isinstance(self.operator, Convolution):
            return self.operator
        raise ValueError(f"block {self.name} is not a convolution: {self.operator}")

    def __repr__(self) -> str:
        size = "{}x{}".format(*self.layout.input_size)
        return f"Block {self.name}: {self.operator} {self.activation or ''}".rstrip() + f" @{size}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.operator.macs(self.layout.input_size)


@dataclass(frozen=True, slots=True)
class Ending:
    """The tensors at the end of a segment.

    Attributes:
        preactivation: fx node of the tensor before the activation.
        activation: what follows, or None.
        output: fx node behind the activation.
        channels: channels of either.
        size: (height, width) of either.
    """

    preactivation: str
    activation: Activation | None
    output: str
    channels: numbers.Count
    size: tuple[numbers.Size, numbers.Size]


@dataclass(frozen=True, slots=True)
class Skip:
    """A residual add at position ``target`` of the tensor at position ``source``.

    Attributes:
        source: position of the tensor that is added.
        target: position of the sum (after the activation that follows the add).
        add: fx node of the addition.
        operand: fx node of what is added: the tensor at ``source``, or the branch's output.
        branch: the linear layers on the skip, none for an identity: a pooling if any, then a
            convolution; a norm alone is a depthwise 1x1 convolution.
        ending: where the add does not lie between the last block's norm and activation, but
            behind the activation or a gate: the sum's own tensors; else None.
        gated: whether something that is not a block lies between the source and the add,
            so that the blocks there do not merge into one.
        macs: multiply-accumulates, for one image, of the linear layers and attention there.
    """

    source: int
    target: int
    add: str
    operand: str
    branch: tuple[Layer, ...] = ()
    ending: Ending | None = None
    gated: bool = False
    macs: int = 0


@dataclass(frozen=True, slots=True)
class Barrier:
    """A position that segments may not cross, or only as part of a larger one, and why.

    Attributes:
        position: the boundary between blocks ``position - 1`` and ``position``.
        node: what makes or reads a tensor there and is not a block.
        reason: why that cannot be merged.
        region: the shortest segment around the barrier that has one tensor in and one tensor
            out; it can be replaced as a whole, but not merged. None if there is none.
        macs: multiply-accumulates of the linear layers and attention there, for one image, but for
            those of a gated skip.
    """

    position: int
    node: str
    reason: str
    region: tuple[int, int] | None = None
    macs: int = 0


@dataclass(frozen=True, slots=True)
class Gate:
    """A squeeze-excite: it scales each channel of a tensor by a function of all channel means.

    ``product = source * output``, where ``output`` is what the gate's blocks give for the means of
    ``source`` over all pixels. Nothing else reads any of these tensors, the blocks have no norms,
    and the block behind them reads the product.

    Attributes:
        start: first block of the gate; its input are the means.
        end: one past its last block.
        source: fx node of the tensor that is weighed (N, C, H, W).
        product: fx node of the tensor when it is.
    """

    start: int
    end: int
    source: str
    product: str


@dataclass(frozen=True, slots=True)
class Unused:
    """A node that could not become part of the chain, and why."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """A traced network as blocks in topological order.

    Attributes:
        model: the model's name, for messages and for matching plans to models.
        input_size: (channels, height, width) of the network's image, or its named inputs.
        blocks: block ``i`` lies between positions ``i`` and ``i + 1``.
        skips: residual adds whose whole span lies in the chain.
        barriers: positions that no segment may cross.
        unused: convolutions and adds that no segment can replace.
        conv_macs: multiply-accumulates of all the network's convolutions for one image, those
            that are no part of a block included.
        gates: squeeze-excites, each before a block.
        other_macs: those of all its linear layers and attention.
    """

    model: str
    input_size: InputSize
    blocks: tuple[Block, ...]
    skips: tuple[Skip, ...]
    barriers: tuple[Barrier, ...]
    unused: tuple[Unused, ...]
    conv_macs: int = 0
    gates: tuple[Gate, ...] = ()
    other_macs: int = 0

    def __post_init__(self) -> None:
        """Check that skips, barriers and gates are at positions of the chain.

        Raises:
            ValueError: it is not; a file was changed.
        """
        last = len(self.blocks)
        for skip in self.skips:
            if not 0 <= skip.source < skip.target <= last:
                raise ValueError(
                    f"a skip runs from {skip.source} to {skip.target} in a chain of {last} blocks"
                )
        for barrier in self.barriers:
            start, end = barrier.region or (0, last)
            if not (0 <= barrier.position <= last and 0 <= start < end <= last):
                raise ValueError(
                    f"a barrier lies at {barrier.position}, and what is around it runs from "
                    f"{start} to {end}, in a chain of {last} blocks"
                )
        for gate in self.gates:
            if not 0 < gate.start < gate.end < last:
                raise ValueError(
                    f"a gate runs from {gate.start} to {gate.end} in a chain of {last} blocks"
                )

    def __repr__(self) -> str:
        parts = (
            counted(len(self.blocks), "block"),
            counted(len(self.skips), "skip"),
            counted(len(self.barriers), "barrier"),
        )
        return f"Chain of {self.model} @{size_text(self.input_size)}: {', '.join(parts)}"

    def why_illegal(self, start: int, end: int) -> str | None:
        """Why ``[start, end)`` cannot be replaced. None if it can.

        A segment is legal if every skip's span is disjoint from it, covers it, or is covered
        by it, and it crosses no barrier except with the whole region around it.
        """
        if not 0 <= start < end <= len(self.blocks):
            return f"[{start}, {end}) is not a run of blocks of 0..{len(self.blocks)}"
        for barrier in self.barriers:
            if start < barrier.position < end and not _within(barrier.region, start, end):
                return f"crosses the barrier at {barrier.position}: {barrier.reason}"
        for skip in self.skips:
            if start < skip.source < end < skip.target or skip.source < start < skip.target < end:
                return f"crosses in part the skip from {skip.source} to {skip.target}"
        return None

    def why_unmergeable(self, start: int, end: int) -> str | None:
        """Why ``[start, end)`` does not merge into one convolution. None if it does.

        It does if it is legal and nothing but blocks and skips lies in it; the blocks'
        activations go.
        """
        for barrier in self.barriers:
            if start < barrier.position < end:
                return f"crosses the barrier at {barrier.position}: {barrier.reason}"
        for block in self.blocks[start:end]:
            if not isinstance(block.operator, Convolution):
                return f"{block.name} is not a convolution"
        for skip in self.covered(start, end):
            if skip.gated:
                return f"covers {skip.add}, which also depends on something other than blocks"
        return self.why_illegal(start, end)

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

    def ending(self, start: int, end: int) -> Ending:
        """The tensors at the end of ``[start, end)``.

        They belong to its last block, or, where the segment covers a skip that is added
        behind that block, to that sum.
        """
        for skip in reversed(self.covered(start, end)):
            if skip.target == end and skip.ending is not None:
                return skip.ending
        last = self.blocks[end - 1]
        return Ending(
            last.preactivation,
            last.activation,
            last.output,
            last.layout.out_channels,
            last.layout.output_size,
        )

    def segment_macs(self, start: int, end: int) -> int:
        """Multiply-accumulates of the segment's blocks, barriers, and covered skips."""
        blocks = sum(block.macs for block in self.blocks[start:end])
        blocks += sum(each.macs for each in self.barriers if start < each.position < end)
        covered = self.covered(start, end)
        return blocks + sum(self.branch_macs(skip) + skip.macs for skip in covered)

    def gate_in(self, start: int, end: int) -> Gate | None:
        """The only gate among the blocks inside ``[start, end)``; None if there is none."""
        inside = [gate for gate in self.gates if start < gate.start and gate.end < end]
        return inside[0] if len(inside) == 1 else None

    def branch_macs(self, skip: Skip) -> int:
        """Multiply-accumulates of the convolutions on a skip."""
        return sum(
            layer.operator.macs(size)
            for layer, size in self.branch_layers(skip)
            if isinstance(layer.operator, Convolution)
        )

    def branch_layers(self, skip: Skip) -> Iterator[tuple[Layer, Pair]]:
        """The layers on a skip, each with the (height, width) of its input."""
        size = self.blocks[skip.source].layout.input_size
        for layer in skip.branch:
            yield layer, size
            size = layer.operator.output_size(size)

    def skips_to(self, end: int) -> tuple[Skip, ...]:
        """The skips that are added at ``end``, in the order of the additions."""
        return tuple(skip for skip in self.skips if skip.target == end)

    def open_skips(self, start: int, end: int) -> tuple[Skip, ...]:
        """The skips that end at ``end`` but begin before ``start``: their adds stay.

        Only those before the segment's ending, which a replacement has to add again; see
        ``later_skips`` for the others.
        """
        adds, cut = self._split(start, end)
        return tuple(skip for skip in adds[:cut] if skip.source < start)

    def later_skips(self, start: int, end: int) -> tuple[Skip, ...]:
        """The skips that begin before ``start`` and are added behind the segment's ending."""
        adds, cut = self._split(start, end)
        return tuple(skip for skip in adds[cut:] if skip.source < start)

    def _split(self, start: int, end: int) -> tuple[tuple[Skip, ...], int]:
        """The adds at ``end``, and how many of them lie before the segment's ending."""
        adds = self.skips_to(end)
        own = [i for i, s in enumerate(adds) if s.source >= start and s.ending is not None]
        return adds, own[-1] if own else sum(skip.ending is None for skip in adds)


def _within(region: tuple[int, int] | None, start: int, end: int) -> bool:
    return region is not None and start <= region[0] and region[1] <= end
