"""A linear layer of tokens."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import CoreSchema

from depthopt.core import numbers
from depthopt.core.clipped import clipped
from depthopt.core.shapes import Pair
from depthopt.core.text import text_schema


@dataclass(frozen=True, slots=True, order=True)
class Linear:
    """A linear layer, with a bias, of the channels of each token (N, T, C).

    Attributes:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    in_channels: int
    out_channels: int

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is computed separately."""
        return False

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return self.out_channels * (self.in_channels + 1)

    def output_size(self, input_size: Pair) -> Pair:
        """(tokens, 1) of the output."""
        return input_size

    def macs(self, input_size: Pair) -> int:
        """Multiply-accumulates for one image of ``input_size`` (tokens, 1)."""
        return input_size[0] * self.in_channels * self.out_channels

    def __str__(self) -> str:
        """Canonical name, such as ``linear 192-192``."""
        return f"linear {self.in_channels}-{self.out_channels}"

    @classmethod
    def parse(cls, text: str) -> "Linear":
        """The layer that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        found = re.fullmatch(rf"linear ({numbers.NATURAL})-({numbers.NATURAL})", text)
        if found is None:
            raise ValueError(f"{clipped(text)} is not a linear layer, such as 'linear 192-192'")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)
