"""The links of Markdown pages; which lead somewhere is looked at in the repository alone.

    python tests/docs/links.py

prints the addresses outside the repository that pages link to, with the pages: look at them by
hand now and then. Nothing is fetched.
"""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # this may be run as a script

from tests.docs.blocks import ROOT, named, pages


@dataclass(frozen=True)
class Link:
    """A link or picture of a page, and the line that it is on."""

    page: Path
    line: int
    target: str

    @property
    def is_outside(self) -> bool:
        return re.match(r"[a-z][a-z0-9+.-]*:", self.target) is not None

    def __str__(self) -> str:
        return f"{named(self.page)}:{self.line}: {self.target}"


_LINKS = (
    re.compile(r"!?\[(?:[^][]|\[[^]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)"),
    re.compile(r"^\s*\[[^]^]+\]:\s+(\S+)"),
    re.compile(r"<(?:img|a|source)\b[^>]*(?:src|srcset|href)=\"([^\"]+)\""),
    re.compile(r"<(https?://[^>]+)>"),
)
_INNER = re.compile(r"\[!\[[^]]*\]\(([^)\s]+)\)\]")


def text_of(page: Path) -> list[str]:
    """A page's lines, those in fences empty and those in code font blanked."""
    found, fence = [], ""
    for line in page.read_text(encoding="utf-8").splitlines():
        mark = re.match(r"\s*(`{3,}|~{3,})", line)
        if mark:
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        found.append("" if fence or mark else re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line))
    return found


def links(page: Path) -> Iterator[Link]:
    """The links of a page, in order."""
    for number, line in enumerate(text_of(page), 1):
        for pattern in (*_LINKS, _INNER):
            for found in pattern.finditer(line):
                yield Link(page, number, found[1])


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    found: dict[str, int] = {}
    lines = page.read_text(encoding="utf-8").splitlines()
    kept = [line for line, plain in zip(lines, text_of(page), strict=True) if plain]
    for line in kept:
        if heading := re.match(r"#{1,6}\s+(.*?)\s*#*$", line):
            slug = _slug(heading[1])
            found[slug] = found.get(slug, -1) + 1
    named_ = re.findall(r"<a (?:id|name)=\"([^\"]+)\"", "\n".join(kept))
    again = (f"{slug}-{i}" for slug, count in found.items() for i in range(1, count + 1))
    return frozenset({*found, *named_, *again})


def _slug(heading: str) -> str:
    plain = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    plain = re.sub(r"(?<!\w)[*_]+|[*_]+(?!\w)", "", plain)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def broken(link: Link) -> str | None:
    """Why an inner link leads nowhere, on GitHub or on the site; None if it leads somewhere."""
    path, _, anchor = link.target.partition("#")
    if path.startswith("/"):
        return "begins with /; make it relative to the page"
    target = Path(os.path.normpath(link.page.parent / path)) if path else link.page
    if not target.is_relative_to(ROOT):
        return "leads out of the repository"
    if target.is_dir():
        target /= "README.md"
    if not target.exists():
        return f"there is no {named(target)}"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return f"{named(target)} has no heading of that anchor"
    return None


def main() -> None:
    by_address: dict[str, list[str]] = {}
    for page in pages():
        for link in links(page):
            if link.is_outside:
                by_address.setdefault(link.target, []).append(f"{named(page)}:{link.line}")
    for address, places in sorted(by_address.items()):
        print(f"{address}  {', '.join(places)}")
    print(f"{len(by_address)} addresses outside the repository")


if __name__ == "__main__":
    main()
