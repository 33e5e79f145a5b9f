"""How a plan may be carried out."""

from typing import Literal

Form = Literal["merged", "expanded"]
"""Whether what a ``merge`` composes is trained as one convolution, or as those it is made of."""

Start = Literal["annealed", "at_once"]
"""Whether inserted activations begin as the identity and come into their own, or are there."""
