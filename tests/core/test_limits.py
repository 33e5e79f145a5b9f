"""The limits, and the page that lists them."""

import re
from pathlib import Path

from depthopt.core import limits

SOURCE = Path(limits.__file__).read_text()
PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "errors.md").read_text()
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "EiB": 1 << 60}


def test_the_page_lists_every_limit_with_its_value_and_words() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d,]+)( \w+)? \| (.+) \|$", PAGE, re.MULTILINE)
    values = {name: value for name, value in vars(limits).items() if name.isupper()}
    words = re.findall(r'^([A-Z_]+) = [^\n]*\n"""(.*?)"""', SOURCE, re.MULTILINE | re.DOTALL)
    assert [(name, text) for name, *_, text in rows] == [(n, " ".join(w.split())) for n, w in words]
    told = {name: int(n.replace(",", "")) * UNITS.get(unit.strip(), 1) for name, n, unit, _ in rows}
    assert told == values
