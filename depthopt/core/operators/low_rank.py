"""What is added to tokens by two linear layers in a row, through few channels."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import CoreSchema

from depthopt.core import numbers
from depthopt.core.clipped import clipped
from depthopt.core.shapes import Pair
from depthopt.core.text import text_schema


@dataclass(frozen=True, slots=True, order=True)
class LowRank:
    """``x + x P Q + b`` of the channels of each token (N, T, C): the identity and a product.

    Attributes:
        channels: of the tokens.
        rank: channels between the two linear layers; the first has no bias.
    """

    channels: int
    rank: int

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return self.channels

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.channels

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is computed separately."""
        return False

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return self.channels * (2 * self.rank + 1)

    def output_size(self, input_size: Pair) -> Pair:
        """(tokens, 1) of the output."""
        return input_size

    def macs(self, input_size: Pair) -> int:
        """Multiply-accumulates for one image of ``input_size`` (tokens, 1)."""
        return 2 * input_size[0] * self.channels * self.rank

    def __str__(self) -> str:
        """Canonical name, such as ``lowrank 192 r48``."""
        return f"lowrank {self.channels} r{self.rank}"

    @classmethod
    def parse(cls, text: str) -> "LowRank":
        """The layers that ``text`` describes.

        Raises:
            ValueError: there are none.
        """
        found = re.fullmatch(rf"lowrank ({numbers.NATURAL}) r({numbers.NATURAL})", text)
        if found is None:
            raise ValueError(f"{clipped(text)} is not of low rank, such as 'lowrank 192 r48'")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)
