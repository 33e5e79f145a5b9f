"""What may run at a place, without its weights: one file an operator.

An operator says how its output's size follows from its input's, how many multiply-accumulates
and parameters it has, and goes by a canonical name in files. An activation may follow it.
"""

from depthopt.core.operators.activation import Activation
from depthopt.core.operators.average_pooling import AveragePooling
from depthopt.core.operators.convolution import Convolution
from depthopt.core.operators.identity import Identity

__all__ = ["Activation", "AveragePooling", "Convolution", "Identity", "Operator", "parse_operator"]

Operator = Convolution | AveragePooling | Identity

_WORDS: dict[str, type[AveragePooling | Identity]] = {
    "avgpool": AveragePooling,
    "identity": Identity,
}


def parse_operator(text: str) -> Operator:
    """The operator whose ``str`` is ``text``: a convolution's begins with its channels.

    Raises:
        ValueError: it is none's.
    """
    return _WORDS.get(text.partition(" ")[0], Convolution).parse(text)
