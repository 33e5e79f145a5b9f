"""How long-running work reports its progress."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""A callback with the steps done, all steps, and their name, such as ``plans timed``."""


def silent(done: int, total: int, what: str) -> None:
    """Report nothing."""
