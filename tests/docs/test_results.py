"""What the README and the docs say of results is what the JSON files hold."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.sentences import ROOT

RESULTS = sorted((ROOT / "docs" / "results").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FIGURES = re.compile(r"<!-- figures: (.*?) -->\n.*?<!-- end -->", re.DOTALL)
MARKED = re.compile(r"<!-- (?:figures|measured|claims): .*? -->\n.*?<!-- end -->", re.DOTALL)


def figures(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tests/benchmarks/figures.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def page(tmp_path):
    """A copy of a page, to change."""
    copy = tmp_path / "solver.md"
    copy.write_text((ROOT / "docs/results/solver.md").read_text(encoding="utf-8"))
    return copy


def test_all_pages_say_what_the_files_hold():
    done = figures("--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.stem)
def test_every_table_of_the_results_is_written_by_the_script(page):
    by_hand = MARKED.sub("", page.read_text(encoding="utf-8"))
    assert not re.search(r"^\s*\|", by_hand, re.MULTILINE)


@pytest.mark.parametrize("page", [p for p in RESULTS if p.stem != "index"], ids=lambda p: p.stem)
def test_every_page_begins_with_its_claim_and_is_listed(page):
    assert re.match(r"# .+\n\n\*\*[^*]+[.!]\*\*", page.read_text(encoding="utf-8"))
    assert f"({page.name}). " in (page.parent / "index.md").read_text(encoding="utf-8")


def test_every_table_of_the_files_is_shown():
    code = "import figures; print(*figures.known(), sep='\\n')"
    folder = ROOT / "tests" / "benchmarks"
    known = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.split()
    shown = {
        what.split(":")[0]
        for page in PAGES
        for what in FIGURES.findall(page.read_text(encoding="utf-8"))
    }
    assert known
    assert set(known) == shown


def test_a_figure_that_was_changed_by_hand_is_named(page):
    text = page.read_text()
    page.write_text(text.replace("| 0.065 |", "| 0.066 |"))
    done = figures("--check", page)
    line = text[: text.index("| 0.065 |")].count("\n") + 1
    assert done.returncode == 1
    assert f"solver.md:{line}: the figures differ from the JSON file's" in done.stdout
    assert "| 0.066 |" in done.stdout
    assert "| 0.065 |" in done.stdout


def test_written_again_it_is_as_it_was(page):
    text = page.read_text()
    page.write_text(text.replace("| 0.065 |", "| 0.066 |"))
    assert figures(page).returncode == 0
    assert page.read_text() == text


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("figures: solver/speed", "solver.json has the tables time, papers"),
        ("figures: solvers/time", "there is no tests/benchmarks/results/solvers.json"),
        ("figures: solver/time: hours", "no column 'hours'; there are what, seconds"),
        (
            "claims: solvers.md",
            "solvers.md has no bold sentence below its title, or does not exist",
        ),
    ],
)
def test_what_is_not_there_is_named_with_its_line(tmp_path, what, message):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n<!-- {what} -->\n<!-- end -->\n")
    done = figures("--check", page)
    assert done.returncode == 1
    assert f"{page}:3: " in done.stdout
    assert message in done.stdout
