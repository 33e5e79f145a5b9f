"""A convolution."""

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
class Convolution:
    """A two-dimensional convolution with its norm folded in, without its weights.

    The fields carry torch's names. Only ``padding`` differs: it is given per side,
    since merged convolutions often pad one side more than the other.

    Attributes:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: (height, width).
        stride: (height, width).
        padding: (left, right, top, bottom), zeros; the order of ``F.pad``.
        dilation: (height, width).
        groups: number of blocks of the weight's block diagonal.
    """

    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is convolved separately."""
        return self.groups == self.in_channels == self.out_channels

    @property
    def is_scaling(self) -> bool:
        """Whether it only scales and shifts every channel, as a norm does."""
        return self.is_depthwise and self.kernel_size == (1, 1)

    @property
    def effective_kernel_size(self) -> Pair:
        """(height, width) of the window that the kernel spans, dilation written out."""
        (kh, kw), (dh, dw) = self.kernel_size, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        kh, kw = self.kernel_size
        return self.out_channels * (self.in_channels // self.groups * kh * kw + 1)

    def parameters_read(self, input_size: Pair) -> int:
        """Number of weights and biases that are used for an input of ``input_size``.

        Fewer than there are where part of the kernel only ever lies on the padding.
        """
        left, right, top, bottom = self.padding
        sides = zip(
            input_size, self.kernel_size, self.stride, self.dilation,
            (top, left), (bottom, right), strict=True,
        )  # fmt: skip
        used = math.prod(_taps_used(*side) for side in sides)
        return self.out_channels * (self.in_channels // self.groups * used + 1)

    def output_size(self, input_size: Pair) -> Pair:
        """(height, width) of the output for an input of ``input_size``."""
        return output_size(input_size, self.effective_kernel_size, self.stride, self.padding)

    def macs(self, input_size: Pair) -> int:
        """Multiply-accumulates for one image of ``input_size`` (height, width)."""
        kh, kw = self.kernel_size
        per_pixel = self.out_channels * (self.in_channels // self.groups) * kh * kw
        return per_pixel * math.prod(self.output_size(input_size))

    def __str__(self) -> str:
        """A canonical one-line name, part of the tables' keys."""
        parts = [f"{self.in_channels}-{self.out_channels}", "k{}x{}".format(*self.kernel_size)]
        if self.stride != (1, 1):
            parts.append("s{}x{}".format(*self.stride))
        if self.padding != (0, 0, 0, 0):
            parts.append("p{},{},{},{}".format(*self.padding))
        if self.dilation != (1, 1):
            parts.append("d{}x{}".format(*self.dilation))
        if self.groups != 1:
            parts.append(f"g{self.groups}")
        return " ".join(parts)

    @classmethod
    def parse(cls, text: str) -> "Convolution":
        """The convolution that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        found = _NAME.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{clipped(text)} is not a convolution, such as '64-128 k3x3 s2x2 p1,1,1,1'"
            )
        part = found.groupdict()

        def pair(name: str) -> Pair:
            height, width = (part[name] or "1x1").split("x")
            return int(height), int(width)

        left, right, top, bottom = (int(side) for side in (part["padding"] or "0,0,0,0").split(","))
        channels = int(part["in_channels"]), int(part["out_channels"])
        groups = int(part["groups"] or 1)
        if channels[0] % groups or channels[1] % groups:
            raise ValueError(f"{text!r} has channels that are not multiples of its groups")
        return cls(
            *channels,
            pair("kernel"),
            pair("stride"),
            (left, right, top, bottom),
            pair("dilation"),
            groups,
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


def _taps_used(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """How many of a kernel's taps, along one side, lie on the input somewhere."""
    outputs = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
    return sum(
        any(0 <= place * stride - before + tap * dilation < size for place in range(outputs))
        for tap in range(kernel)
    )


_N = numbers.NATURAL
_NAME = re.compile(
    rf"(?P<in_channels>{_N})-(?P<out_channels>{_N}) k(?P<kernel>{_N}x{_N})"
    rf"( s(?P<stride>{_N}x{_N}))?( p(?P<padding>-?{numbers.DIGITS}(,-?{numbers.DIGITS}){{3}}))?"
    rf"( d(?P<dilation>{_N}x{_N}))?( g(?P<groups>{_N}))?"
)
