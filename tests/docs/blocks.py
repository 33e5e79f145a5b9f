"""The fenced blocks of Markdown pages, and the marks of those that are not run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LANGUAGES = ("bash", "python", "yaml", "toml", "text")
"""That a block may be in. ``text`` is output, or a picture of a file: nothing is done with it."""

REASONS = (
    "needs a GPU",
    "needs ImageNet",
    "needs a data set to be downloaded",
    "installs packages",
    "needs several machines",
    "takes hours",
    "a workflow of GitHub",
    "a benchmark",  # times something for minutes, on a machine that is idle
)
"""Why a block may be left alone: ``<!-- not run: REASON -->`` on the line above it."""

READMES = ("recipes", "latency_tables", "depthopt/report", "depthopt/check", "tests/benchmarks")


class PageError(Exception):
    """What is wrong with a page, with the page and the line."""

    def __init__(self, page: Path, line: int, what: object) -> None:
        super().__init__(f"{named(page)}:{line}: {what}")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: it is on.
        line: of its first line of text; the fence is above.
        language: behind the fence.
        text: it holds, without the fence's indentation.
        reason: it is not run for, if it is marked so.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def file(self) -> str | None:
        """The file that the block's first line says it is, such as ``# separable/kind.py``."""
        found = re.match(r"# ([\w./-]+\.(?:py|yaml|toml))\n", self.text)
        return found[1] if found else None


def named(page: Path) -> str:
    """A page's path from the top of the repository, if it lies there."""
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name


def pages() -> list[Path]:
    """Every page that users read."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    found += sorted((ROOT / "docs").rglob("*.md"))
    found += [ROOT / folder / "README.md" for folder in READMES]
    return [page for page in found if page.exists()]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order.

    Raises:
        PageError: a block has no known language or no end, a mark stands above no block or gives
            no reason that is known, or code is indented and not fenced.
    """
    return list(_blocks(page, page.read_text(encoding="utf-8").splitlines()))


_FENCE = re.compile(r"(\s*)(`{3,}|~{3,})\s*(.*)")
_MARK = re.compile(r"\s*<!--\s*not run\b:?\s*(.*?)\s*-->\s*$")


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    number, marked, in_list = 0, None, False
    while number < len(lines):
        line = lines[number]
        number += 1
        if (mark := _MARK.match(line)) is not None:
            following = lines[number] if number < len(lines) else ""
            if not _FENCE.match(following):
                raise PageError(page, number, "this mark is not on the line above a block")
            if mark[1] not in REASONS:
                known = ", ".join(REASONS)
                raise PageError(page, number, f"reason {mark[1]!r} is not one of: {known}")
            marked = mark[1]
            continue
        fence = _FENCE.match(line)
        if fence is None:
            in_list = _in_list(line, in_list)
            before = lines[number - 2] if number > 1 else ""
            if line.startswith("    ") and line.strip() and not in_list and not before.strip():
                raise PageError(page, number, "code is indented; put it between ``` fences")
            continue
        indent, ticks, language = fence.groups()
        if language not in LANGUAGES:
            what = f"language {language!r}" if language else "a block without a language"
            raise PageError(page, number, f"{what} is not one of: {', '.join(LANGUAGES)}")
        first, inside = number + 1, []
        while number < len(lines) and lines[number].strip() != ticks:
            inside.append(lines[number].removeprefix(indent))
            number += 1
        if number == len(lines):
            raise PageError(page, first - 1, "this block has no end")
        number += 1
        yield Block(page, first, language, "\n".join(inside) + "\n", marked)
        marked = None


def _in_list(line: str, before: bool) -> bool:
    """Whether a line is in an item of a list, the lines before it being so or not."""
    if re.match(r"\s*([-*+]|\d+\.)\s|\[\^|!!!|\?\?\?", line):
        return True
    return before and (not line.strip() or line.startswith(" "))
