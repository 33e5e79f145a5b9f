"""Links and anchors of README and docs lead somewhere, and the site has every page."""

import re
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import ROOT, named, pages
from tests.docs.links import broken, links

MORE = [ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]

_OF_THE_SITE = {"changelog.md", "contributing.md", "security.md"}
"""Pages that docs/hooks.py makes of files at the top."""


@pytest.mark.parametrize("page", [*pages(), *MORE], ids=named)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    found = [(link, broken(link)) for link in links(page) if not link.is_outside]
    assert [f"{link}: {why}" for link, why in found if why is not None] == []


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(text[text.index("\nnav:") :])["nav"]
    entries = set(re.findall(r"[\w/.-]+\.md", str(nav)))
    docs = ROOT / "docs"
    written = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    notebooks = {
        path.relative_to(docs).with_suffix(".md").as_posix()
        for path in docs.rglob("*.ipynb")
        if not path.parent.name.startswith(".")
    }
    assert entries == written | notebooks | _OF_THE_SITE


def test_what_a_broken_link_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.links.ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# One *two* `three`: four\n\n# Again\n\n# Again\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#one-two-three-four) [b](other.md#again-1) [c](#own) `[d](x.md)`\n\n## Own\n"
        "```text\n[e](x.md)\n```\n[f](gone.md) [g](other.md#gone)\n[h](/page.md) [i](../up.md)\n"
        "[![j](gone.png)](other.md) [k](https://example.org)\n"
    )
    found = {link.target: (link.line, broken(link)) for link in links(page) if not link.is_outside}
    assert {target: line for target, (line, why) in found.items() if why} == {
        "gone.md": 7,
        "other.md#gone": 7,
        "/page.md": 8,
        "../up.md": 8,
        "gone.png": 9,
    }
    assert [link.target for link in links(page) if link.is_outside] == ["https://example.org"]
