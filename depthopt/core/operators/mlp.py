"""The MLP of a transformer, or of a map's pixels: a norm, linear layers, an activation between."""

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
    """A layer norm, a linear layer, an activation, a linear layer back; with or without a gate.

    "Attention Is All You Need", section 3.3 (https://arxiv.org/abs/1706.03762), with the norm in
    front. It reads and gives tokens (N, T, C), or the pixels of a map (N, C, H, W).

    Attributes:
        channels: C, of input and output.
        hidden: channels between the two linear layers.
        activation: of those, by its canonical name.
        scaled: whether each channel of the output has a factor (LayerScale).
        gated: linear layers in front where what one gives, behind the activation, is multiplied
            with what another gives (https://arxiv.org/abs/2002.05202): 2, or 1 that gives both;
            0 where there is no gate.
        normed: whether the hidden channels have a layer norm.
        maps: whether it reads and gives a map, whose channels it arranges last in between.
        rms: whether its norms are by the root mean square (RMSNorm, https://arxiv.org/abs/1910.07467).
    """

    channels: int
    hidden: int
    activation: str
    scaled: bool = False
    gated: int = 0
    normed: bool = False
    maps: bool = False
    rms: bool = False

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
        times = 2 if self.gated else 1
        both = times * self.hidden * (self.channels + 1) + self.channels * (self.hidden + 1)
        each = 1 if self.rms else 2
        norms = each * (self.channels + (self.hidden if self.normed else 0))
        return norms + both + (self.channels if self.scaled else 0)

    def output_size(self, input_size: Pair) -> Pair:
        """(tokens, 1), or (height, width), of the output."""
        return input_size

    def macs(self, input_size: Pair) -> int:
        """Multiply-accumulates for one image of ``input_size`` (tokens, 1) or (height, width)."""
        times = 3 if self.gated else 2
        return times * input_size[0] * input_size[1] * self.channels * self.hidden

    def __str__(self) -> str:
        """Canonical name, such as ``mlp 192-768:gelu``."""
        parts = [f"mlp {self.channels}-{self.hidden}:{self.activation}"]
        given = {"s": self.scaled, "g": self.gated, "n": self.normed, "m": self.maps, "e": self.rms}
        parts += [f"{letter}{int(value)}" for letter, value in given.items() if value]
        return " ".join(parts)

    @classmethod
    def parse(cls, text: str) -> "Mlp":
        """The MLP that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        found = _NAME.fullmatch(text)
        if found is None:
            raise ValueError(f"{clipped(text)} is not an MLP, such as 'mlp 192-768:gelu'")
        return cls(
            int(found[1]),
            int(found[2]),
            found["activation"],
            found["scaled"] is not None,
            int(found["gated"] or 0),
            found["normed"] is not None,
            found["maps"] is not None,
            found["rms"] is not None,
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


_N = numbers.NATURAL
_NAME = re.compile(
    rf"mlp ({_N})-({_N}):(?P<activation>[a-z]\S*)(?P<scaled> s1)?"
    r"( g(?P<gated>[12]))?(?P<normed> n1)?(?P<maps> m1)?(?P<rms> e1)?"
)
