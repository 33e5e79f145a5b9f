"""Shorten values and messages to what a person reads."""

import re

from depthopt.core import limits


def clipped(value: object, most: int = limits.VALUE_CHARACTERS) -> str:
    """A value as a message quotes it: its ``repr``, shortened in the middle if it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes out
        text = "a number of thousands of digits"
    except RecursionError:
        text = f"a {type(value).__name__} too deeply nested to show"
    return shortened(text, most)


def shortened(text: str, most: int = limits.MESSAGE_CHARACTERS) -> str:
    """A text without its middle if it is long; the end often says what to do."""
    if len(text) <= most:
        return text
    left_out = len(text) - most
    end = most // 3
    return f"{text[: most - end]} [... {left_out:,} characters ...] {text[-end:]}"


def printable(text: str) -> str:
    """Escape what UTF-8 or XML cannot hold, such as odd bytes in file names."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def one_line(error: BaseException) -> str:
    """An error's message as one short line. Its type if the message is empty."""
    # Only the beginning and the end are shown; splitting a text of megabytes takes seconds.
    text = str(error)
    if len(text) > 10 * limits.MESSAGE_CHARACTERS:
        text = shortened(text, 5 * limits.MESSAGE_CHARACTERS)
    return shortened(" ".join(text.split())) or type(error).__name__
