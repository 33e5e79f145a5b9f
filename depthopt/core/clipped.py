"""Values and messages as long as a person reads them."""

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


def one_line(error: BaseException) -> str:
    """What an error says, in one line that is not too long; its type if it says nothing."""
    # Only the beginning and the end are shown; splitting a text of megabytes takes seconds.
    text = str(error)
    if len(text) > 10 * limits.MESSAGE_CHARACTERS:
        text = shortened(text, 5 * limits.MESSAGE_CHARACTERS)
    return shortened(" ".join(text.split())) or type(error).__name__
