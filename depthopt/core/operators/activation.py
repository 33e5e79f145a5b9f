"""An activation: a function that is applied to every number separately."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import CoreSchema

from depthopt.core import numbers
from depthopt.core.clipped import clipped
from depthopt.core.text import text_schema

PLAIN = frozenset(
    {
        "elu",
        "gelu",
        "gelu_tanh",
        "hardsigmoid",
        "hardswish",
        "leaky_relu",
        "mish",
        "relu",
        "relu6",
        "sigmoid",
        "silu",
        "tanh",
    }
)
"""Names of the activations that may stand without a parameter."""

_IDEMPOTENT = frozenset({"relu", "relu6"})


@dataclass(frozen=True, slots=True, order=True)
class Activation:
    """An activation by its canonical name.

    Attributes:
        name: such as ``relu``.
        parameter: of a leaky ReLU, the slope where it is not torch's default; else None.
    """

    name: str
    parameter: float | None = None

    @property
    def is_idempotent(self) -> bool:
        """Whether applying it a second time changes nothing."""
        return self.name in _IDEMPOTENT

    def __str__(self) -> str:
        """Canonical name, such as ``relu`` or ``leaky_relu:0.2``."""
        if self.parameter is None:
            return self.name
        short = f"{self.parameter:g}"
        return f"{self.name}:{short if float(short) == self.parameter else repr(self.parameter)}"

    @classmethod
    def parse(cls, text: str) -> "Activation":
        """The activation that ``text`` describes.

        Raises:
            ValueError: there is none.
        """
        found = _NAME.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{clipped(text)} is not an activation, such as 'relu' or 'leaky_relu:0.2'"
            )
        parameter = found["parameter"]
        return cls(found["name"], None if parameter is None else float(parameter))

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> CoreSchema:
        return text_schema(cls)


_NAME = re.compile(rf"(?P<name>[a-z]\w*)(:(?P<parameter>-?({numbers.DECIMAL}|inf)))?", re.ASCII)
