from depthopt.core import limits
from depthopt.core.clipped import clipped, one_line, shortened


def test_short_values_are_quoted_whole_and_long_ones_by_their_ends() -> None:
    assert clipped({"a": [1, "x"]}) == "{'a': [1, 'x']}"
    text = clipped("a" * 10**6 + "b")
    assert text.startswith("'aaa")
    assert text.endswith("ab'")
    assert "[... 999,7" in text
    assert len(text) < 2 * limits.VALUE_CHARACTERS


def test_values_that_have_no_text_are_told_too() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert clipped(nested) == "a list too deeply nested to show"
    assert clipped(10**5000) == "a number of thousands of digits"


def test_an_error_is_one_line_that_is_not_too_long() -> None:
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(KeyError()) == "KeyError"
    line = one_line(ValueError("x\n" * 10**7))
    assert "\n" not in line
    assert len(line) < 2 * limits.MESSAGE_CHARACTERS
    assert shortened("abc", 3) == "abc"
