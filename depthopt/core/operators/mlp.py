"""The MLP branch of a transformer: a norm, and two linear layers with an activation between."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import CoreSchema

from depthopt.core import numbers
from depthopt.core.clipped import clipped
from depthopt.core.shapes import Pair
from depthopt.core.text import text_schema


@dataclass(frozen=True, slots=True, order=True)
class Mlp:
    """A layer norm, a linear layer, an activation, a linear layer back.

    "Attention Is All You Need", section 3.3 (https://arxiv.org/abs/1706.03762), with the norm in
    front. It reads and gives tokens (N, T, C).

    Attributes:
        channels: C, of input and output.
        hidden: channels between the two linear layers.
        activation: of those, by its canonical name.
        scaled: whether each channel of the output has a factor (LayerScale).
    """

    channels: int
    hidden: int
    activation: str
    scaled: bool = False

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
        both = self.hidden * (self.channels + 1) + self.channels * (self.hidden + 1)
        return 2 * self.channels + both + (self.channels if self.scaled else 0)

    def output_size(self, input_size: Pair) -> Pair:
        """(tokens, 1) of the output."""
        return input_size

    def macs(self, input_size: Pair) -> int:
        """Multiply-accumulates for one image of ``input_size`` (tokens, 1)."""
        return 2 * input_size[0] * self.channels * self.hidden

    def __str__(self) -> str:
        """Canonical name, such as ``mlp 192-768:gelu``."""
        text = f"mlp {self.channels}-{self.hidden}:{self.activation}"
        return f"{text} s1" if self.scaled else text

    @classmethod
    def parse(cls, text: str) -> "Mlp":
        """The MLP that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        found = _NAME.fullmatch(text)
        if found is None:
            raise ValueError(f"{clipped(text)} is not an MLP, such as 'mlp 192-768:gelu'")
        scaled = found["scaled"] is not None
        return cls(int(found[1]), int(found[2]), found["activation"], scaled)

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


_N = numbers.NATURAL
_NAME = re.compile(rf"mlp ({_N})-({_N}):(?P<activation>[a-z]\S*)(?P<scaled> s1)?")
