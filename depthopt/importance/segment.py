"""The teacher's tensors at a segment's two ends."""

from collections.abc import Mapping

from torch import Tensor

from depthopt.core.chain import Chain


class SegmentTensors:
    """Names of the tensors at a segment's start and end, and what lies between them."""

    def __init__(self, chain: Chain, start: int, end: int) -> None:
        ending = chain.ending(start, end)
        self.input = chain.blocks[start].input
        self.target = ending.preactivation
        self.added = tuple(skip.branch for skip in chain.open_skips(start, end))
        self.names = {self.input, self.target, *self.added}

    def wanted(self, values: Mapping[str, Tensor]) -> Tensor:
        """What a convolution in the segment's place should give."""
        target = values[self.target]
        for name in self.added:
            target = target - values[name]
        return target

    def completed(self, output: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """The pre-activation tensor at the end, given the convolution's output."""
        for name in self.added:
            output = output + values[name]
        return output
