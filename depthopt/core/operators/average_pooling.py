"""An average pooling."""

import math
import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import CoreSchema

from depthopt.core import numbers
from depthopt.core.clipped import clipped
from depthopt.core.shapes import Pair, Sides, output_size
from depthopt.core.text import text_schema


@dataclass(frozen=True, slots=True, order=True)
class AveragePooling:
    """A two-dimensional average pooling whose windows are all of one size.

    Attributes:
        channels: of input and output.
        kernel_size: (height, width).
        stride: (height, width).
        padding: (left, right, top, bottom), zeros that count; the order of ``F.pad``.
    """

    channels: int
    kernel_size: Pair
    stride: Pair
    padding: Sides = (0, 0, 0, 0)

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.channels

    @property
    def groups(self) -> int:
        """Number of groups of the convolution that computes the same."""
        return self.channels

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is computed separately."""
        return True

    @property
    def effective_kernel_size(self) -> Pair:
        """(height, width) of the window that is averaged over."""
        return self.kernel_size

    @property
    def parameters(self) -> int:
        """Number of weights and biases: none."""
        return 0

    def output_size(self, input_size: Pair) -> Pair:
        """(height, width) of the output for an input of ``input_size``."""
        return output_size(input_size, self.kernel_size, self.stride, self.padding)

    def macs(self, input_size: Pair) -> int:
        """Additions for one image of ``input_size`` (height, width)."""
        return self.channels * math.prod(self.kernel_size) * math.prod(self.output_size(input_size))

    def __str__(self) -> str:
        """Canonical name, such as ``avgpool 64-64 k2x2 s2x2 g64``: that of its convolution."""
        parts = [f"avgpool {self.channels}-{self.channels}", "k{}x{}".format(*self.kernel_size)]
        if self.stride != (1, 1):
            parts.append("s{}x{}".format(*self.stride))
        if self.padding != (0, 0, 0, 0):
            parts.append("p{},{},{},{}".format(*self.padding))
        if self.channels != 1:
            parts.append(f"g{self.channels}")
        return " ".join(parts)

    @classmethod
    def parse(cls, text: str) -> "AveragePooling":
        """The pooling that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        found = _NAME.fullmatch(text)
        if found is None or (found["groups"] is None and found["channels"] != "1"):
            raise ValueError(
                f"{clipped(text)} is not a pooling, such as 'avgpool 64-64 k2x2 s2x2 g64'"
            )
        height, width = map(int, found["kernel"].split("x"))
        down, across = map(int, (found["stride"] or "1x1").split("x"))
        left, right, top, bottom = map(int, (found["padding"] or "0,0,0,0").split(","))
        return cls(
            int(found["channels"]), (height, width), (down, across), (left, right, top, bottom)
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


_N = numbers.NATURAL
_NAME = re.compile(
    rf"avgpool (?P<channels>{_N})-(?P=channels) k(?P<kernel>{_N}x{_N})"
    rf"( s(?P<stride>{_N}x{_N}))?( p(?P<padding>-?{numbers.DIGITS}(,-?{numbers.DIGITS}){{3}}))?"
    r"( g(?P<groups>(?P=channels)))?"
)
