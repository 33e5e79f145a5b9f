"""Operators without their weights, one file each.

An operator says how its output's size follows from its input's, how many multiply-accumulates
and parameters it has, and goes by a canonical name in files. An activation may follow it. Other
packages may bring operators of their own (``docs/guides/extending.md``).
"""

import re
from typing import Annotated, Any, Protocol

from pydantic import GetPydanticSchema

from depthopt.core.operators.activation import Activation
from depthopt.core.operators.attention import Attention
from depthopt.core.operators.average_pooling import AveragePooling
from depthopt.core.operators.convolution import Convolution
from depthopt.core.operators.identity import Identity
from depthopt.core.operators.linear import Linear
from depthopt.core.operators.low_rank import LowRank
from depthopt.core.operators.mlp import Mlp
from depthopt.core.operators.unknown import Unknown
from depthopt.core.shapes import Pair
from depthopt.core.text import text_schema
from depthopt.errors import UsageError
from depthopt.plugins import Plugins

__all__ = [
    "OPERATORS",
    "Activation",
    "AnyOperator",
    "Attention",
    "AveragePooling",
    "Convolution",
    "Identity",
    "Linear",
    "LowRank",
    "Mlp",
    "Operator",
    "parse_operator",
    "reads_tokens",
]


class Operator(Protocol):
    """What every operator offers. Operators are frozen, and equal if their texts are equal."""

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        ...

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        ...

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is computed separately."""
        ...

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        ...

    def output_size(self, input_size: Pair) -> Pair:
        """(height, width) of the output for an input of ``input_size``."""
        ...

    def macs(self, input_size: Pair) -> int:
        """Multiply-accumulates for one image of ``input_size`` (height, width)."""
        ...


OPERATORS = Plugins(
    "depthopt.operators",
    "operator",
    {
        "attn": "depthopt.core.operators.attention:Attention",
        "avgpool": "depthopt.core.operators.average_pooling:AveragePooling",
        "identity": "depthopt.core.operators.identity:Identity",
        "linear": "depthopt.core.operators.linear:Linear",
        "lowrank": "depthopt.core.operators.low_rank:LowRank",
        "mlp": "depthopt.core.operators.mlp:Mlp",
    },
)
"""Operators by the first word of their text. A convolution's text begins with its channels."""


def reads_tokens(operator: Operator) -> bool:
    """Whether an operator reads and gives tokens (N, T, C), not maps (N, C, H, W)."""
    if isinstance(operator, Mlp):
        return not operator.maps
    return isinstance(operator, Attention | Linear | LowRank)


def parse_operator(text: str) -> Operator:
    """The operator that ``text`` describes. An unknown one is refused when it is used.

    Raises:
        ValueError: there is none.
    """
    word = text.partition(" ")[0]
    kind: Any = Convolution
    if re.fullmatch(r"[a-z]\w*", word) and word != "conv":  # as entries of convolutions begin
        try:
            kind = OPERATORS.get(word)
        except UsageError as error:
            return Unknown(text, str(error))
    operator: Operator = kind.parse(text)
    return operator


class _Known:
    """The schema of an operator that is known here, as files hold it."""

    @classmethod
    def parse(cls, text: str) -> Operator:
        """The operator. Raises ``ValueError`` if there is none, or it is not known."""
        operator = parse_operator(text)
        if isinstance(operator, Unknown):
            raise ValueError(operator.reason)  # noqa: TRY004 - pydantic's
        return operator


AnyOperator = Annotated[Operator, GetPydanticSchema(lambda *_: text_schema(_Known))]
"""An operator as a field: files hold its text."""
