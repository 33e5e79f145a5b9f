"""Sentences of a Markdown page, and how many words each has.

    python tests/docs/sentences.py [PAGE ...]

prints each page's average and its sentences of more than 35 words. Code, tables, headings and
comments are left out; a link is its text, and a piece of inline code is one word. An item of a list
and a paragraph end a sentence, and so does a full stop, a question mark or an exclamation mark.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

LONGEST = 35
"""Words that a sentence may have."""

AVERAGE = 18
"""Words that a sentence may have in the mean over all pages."""

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Sentence:
    """One sentence, and the line of the page that its paragraph begins at."""

    page: Path
    line: int
    text: str

    @property
    def words(self) -> int:
        return sum(any(c.isalnum() for c in word) for word in self.text.split())


def pages() -> list[Path]:
    """The README and every page of the docs."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def sentences(page: Path) -> list[Sentence]:
    found = []
    for line, paragraph in _paragraphs(page.read_text(encoding="utf-8").splitlines()):
        text = _plain(paragraph)
        found += [
            Sentence(page, line, each)
            for each in re.split(r"(?<=[.!?])[\"')*_]*\s+(?=[^a-z])", text)
            if any(c.isalnum() for c in each)
        ]
    return found


def _paragraphs(lines: list[str]) -> list[tuple[int, str]]:  # noqa: C901 - one pass over lines
    """Prose alone, a paragraph or an item of a list each, with the line it begins at."""
    found: list[tuple[int, str]] = []
    now: list[str] = []
    begun, fence, comment, before_blank = 0, "", False, True

    def end() -> None:
        if now:
            found.append((begun, " ".join(now)))
            now.clear()

    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if fence or stripped.startswith(("```", "~~~")):
            end()
            if not fence:
                fence = stripped[:3]
            elif stripped.startswith(fence):
                fence = ""
            continue
        if comment or stripped.startswith("<!--"):
            end()
            comment = "-->" not in stripped
            continue
        in_code = line.startswith("    ") and before_blank and not now
        before_blank = not stripped or in_code
        if in_code or not stripped or re.match(r"[|#<]|:::|!!!|\?\?\?|---$|===", stripped):
            end()
            continue
        item = re.match(r"(?:[-*+]|\d+\.|\[\^?[^]]+\]:)\s+(.*)", stripped)
        if item:
            end()
            stripped = item.group(1)
        if not now:
            begun = number
        now.append(stripped)
    end()
    return found


def _plain(text: str) -> str:
    text = re.sub(r"`+[^`]+`+", "code", text)
    text = re.sub(r"!\[[^]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\b(e\.g|i\.e|vs|cf|et al|No)\.", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def main() -> None:
    chosen = [Path(each) for each in sys.argv[1:]] or pages()
    every: list[Sentence] = []
    for page in chosen:
        found = sentences(page)
        every += found
        mean = sum(s.words for s in found) / max(1, len(found))
        print(f"{page}: {len(found)} sentences, {mean:.1f} words in the mean")
        for sentence in found:
            if sentence.words > LONGEST:
                print(f"  line {sentence.line}: {sentence.words} words: {sentence.text}")
    print(f"in all: {sum(s.words for s in every) / max(1, len(every)):.1f}")


if __name__ == "__main__":
    main()
