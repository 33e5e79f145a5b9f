"""An identity, which replaces layers that were removed."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import CoreSchema

from depthopt.core import numbers
from depthopt.core.clipped import clipped
from depthopt.core.shapes import Pair
from depthopt.core.text import text_schema


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """An operator that returns its input.

    Attributes:
        channels: of the tensor.
    """

    channels: int

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
        return True

    @property
    def parameters(self) -> int:
        """Number of weights and biases: none."""
        return 0

    def output_size(self, input_size: Pair) -> Pair:
        """(height, width) of the output for an input of ``input_size``."""
        return input_size

    def macs(self, input_size: Pair) -> int:  # noqa: ARG002 - every operator has it
        """Multiply-accumulates for one image of ``input_size``: none."""
        return 0

    def __str__(self) -> str:
        """Canonical name, such as ``identity 64``."""
        return f"identity {self.channels}"

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """The identity that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        found = re.fullmatch(rf"identity ({numbers.NATURAL})", text)
        if found is None:
            raise ValueError(f"{clipped(text)} is not an identity, such as 'identity 64'")
        return cls(int(found[1]))

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)
