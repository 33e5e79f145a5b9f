"""The attention branch of a transformer: a norm, self-attention of all tokens, a projection."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import CoreSchema

from depthopt.core import numbers
from depthopt.core.clipped import clipped
from depthopt.core.shapes import Pair
from depthopt.core.text import text_schema


@dataclass(frozen=True, slots=True, order=True)
class Attention:
    """A layer norm, scaled dot-product attention of all tokens with each other, a projection.

    "Attention Is All You Need", section 3.2 (https://arxiv.org/abs/1706.03762), with the norm in
    front. It reads and gives tokens (N, T, C). Whether its layers have biases makes no difference
    here.

    Attributes:
        channels: C, of input and output.
        heads: of queries, keys and values each.
        head_width: channels of a head.
        layers: linear layers that queries, keys and values come from: one, or three.
        normed: whether queries and keys have layer norms of their own.
        scaled: whether each channel of the output has a factor (LayerScale).
        biased: whether a fixed bias (heads, T, T) is added to the scores, as of relative positions.
        rotary: how many tokens at the front, such as the class token, are not turned by rotary
            positions (RoFormer, https://arxiv.org/abs/2104.09864); None where none is turned.
        interleaved: whether a channel is turned with its neighbour, not with one in the other half.
        rms: whether its norms are by the root mean square (RMSNorm, https://arxiv.org/abs/1910.07467).
    """

    channels: int
    heads: int
    head_width: int
    layers: int = 1
    normed: bool = False
    scaled: bool = False
    biased: bool = False
    rotary: int | None = None
    interleaved: bool = False
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
    def hidden(self) -> int:
        """Channels that the projection reads: of all heads together."""
        return self.heads * self.head_width

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        each = 1 if self.rms else 2
        norms = each * (self.channels + (2 * self.head_width if self.normed else 0))
        scale = self.channels if self.scaled else 0
        read = 3 * self.hidden * (self.channels + 1)
        return norms + read + self.channels * (self.hidden + 1) + scale

    def output_size(self, input_size: Pair) -> Pair:
        """(tokens, 1) of the output."""
        return input_size

    def macs(self, input_size: Pair) -> int:
        """Multiply-accumulates for one image of ``input_size`` (tokens, 1)."""
        tokens = input_size[0]
        return tokens * 4 * self.channels * self.hidden + self.attention_macs(input_size)

    def attention_macs(self, input_size: Pair) -> int:
        """Those of the two products of tokens with each other alone."""
        return 2 * input_size[0] ** 2 * self.hidden

    def __str__(self) -> str:
        """Canonical name, such as ``attn 192 h3``."""
        parts = [f"attn {self.channels} h{self.heads}"]
        if self.hidden != self.channels:
            parts.append(f"w{self.head_width}")
        if self.layers != 1:
            parts.append(f"p{self.layers}")
        flags = (("q", self.normed), ("s", self.scaled), ("b", self.biased))
        parts += [f"{letter}1" for letter, has in flags if has]
        if self.rotary is not None:
            parts.append(f"r{self.rotary}" + (" i1" if self.interleaved else ""))
        if self.rms:
            parts.append("e1")
        return " ".join(parts)

    @classmethod
    def parse(cls, text: str) -> "Attention":
        """The attention that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        found = _NAME.fullmatch(text)
        channels, heads = (int(found[i]) for i in (1, 2)) if found else (1, 2)
        if found is None or (found["width"] is None and channels % heads):
            raise ValueError(f"{clipped(text)} is not an attention, such as 'attn 192 h3'")
        return cls(
            channels,
            heads,
            int(found["width"] or channels // heads),
            int(found["layers"] or 1),
            found["normed"] is not None,
            found["scaled"] is not None,
            found["biased"] is not None,
            None if found["rotary"] is None else int(found["rotary"]),
            found["interleaved"] is not None,
            found["rms"] is not None,
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


_N = numbers.NATURAL
_NAME = re.compile(
    rf"attn ({_N}) h({_N})( w(?P<width>{_N}))?( p(?P<layers>3))?"
    r"(?P<normed> q1)?(?P<scaled> s1)?(?P<biased> b1)?"
    rf"( r(?P<rotary>{numbers.DIGITS})(?P<interleaved> i1)?)?(?P<rms> e1)?"
)
