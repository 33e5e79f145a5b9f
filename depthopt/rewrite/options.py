"""Options for carrying out a plan."""

from typing import Literal, get_args

from depthopt.errors import UsageError

Form = Literal["fused", "expanded"]
"""Form in which a ``merge`` is trained: as one convolution, or as its parts."""

Start = Literal["annealed", "at_once"]
"""Start of inserted activations: they grow from the identity, or are there at once."""


def check_form(form: str) -> None:
    """Refuse an unknown form.

    Raises:
        UsageError: it is unknown; those that there are are named.
    """
    if form not in get_args(Form):
        raise UsageError(f"form {form!r} is unknown; known: {', '.join(get_args(Form))}")
