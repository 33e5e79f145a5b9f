"""The tensors at a segment's two ends, and what is added to the one behind it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from depthopt.core.chain import Chain


@dataclass(frozen=True, slots=True)
class SegmentTensors:
    """The nodes of a traced network around one segment.

    Attributes:
        input: of the tensor at its start.
        added: of the residuals that are added at its end.
        target: of the tensor behind those adds, before the activation.
    """

    input: str
    added: tuple[str, ...]
    target: str

    @classmethod
    def of(cls, chain: Chain, start: int, end: int) -> "SegmentTensors":
        """The nodes in the original network."""
        added = tuple(skip.operand for skip in chain.open_skips(start, end))
        return cls(chain.blocks[start].input, added, chain.ending(start, end).preactivation)

    @classmethod
    def of_hidden(cls, chain: Chain, position: int) -> "SegmentTensors":
        """The nodes in the original network around the last linear layer of a branch."""
        block, adds = chain.blocks[position], chain.skips_to(position + 1)
        added = tuple(skip.operand for skip in adds if skip.ending is None)
        return cls(str(block.hidden), added, block.preactivation)

    @property
    def names(self) -> frozenset[str]:
        """The names of all nodes."""
        return frozenset({self.input, self.target, *self.added})

    def wanted(self, target: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """The output that a convolution in the segment's place needs, so that ``target`` results.

        Args:
            target: the tensor to reach behind the adds.
            values: of the residuals, by name.
        """
        for name in self.added:
            target = target - values[name]
        return target

    def completed(self, output: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """The tensor behind the adds, given what runs in the segment's place.

        Args:
            output: of the convolution in its place.
            values: of the residuals, by name.
        """
        for name in self.added:
            output = output + values[name]
        return output
