"""Numbers with what they count, in words: ``1 thread``, ``2 threads``."""


def counted(number: int, what: str, several: str | None = None) -> str:
    """A number with what it counts.

    Args:
        number: how many.
        what: the word for one of them.
        several: for more than one, or none; ``what`` with an s if left out.
    """
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"
