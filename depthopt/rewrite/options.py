"""How a plan may be carried out."""

from typing import Literal, get_args

from depthopt.errors import UsageError

Form = Literal["fused", "expanded"]
"""Whether what a ``merge`` composes is trained as one convolution, or as those it is made of."""

Start = Literal["annealed", "at_once"]
"""Whether inserted activations begin as the identity and come into their own, or are there."""


def check_form(form: str) -> None:
    """Refuse a form that there is not.

    Raises:
        UsageError: it is unknown; those that there are are named.
    """
    if form not in get_args(Form):
        raise UsageError(f"form {form!r} is unknown; known: {', '.join(get_args(Form))}")
