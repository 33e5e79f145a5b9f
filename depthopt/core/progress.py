"""How long work tells how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with the steps done, the steps in all, and what they are, such as ``plans timed``."""


def silent(done: int, total: int, what: str) -> None:
    """Tell nobody."""
