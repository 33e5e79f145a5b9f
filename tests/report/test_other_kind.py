"""A kind of another package in rows, sentences, plots and on the page: as it says itself."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Patch

from depthopt.errors import UsageError
from depthopt.kinds.kind import Pattern
from depthopt.report.explorer import Explorer, KindStyle, explorer
from depthopt.report.facts import plan_sentence, segment_rows
from depthopt.report.figures import svg
from depthopt.report.page import report_page
from depthopt.report.plots import run_figures
from depthopt.report.reading import read_run
from tests.report.other_kind import KIND, bring, write_squeezed_run
from tests.report.run_folder import write_run
from tests.report.test_page import data, shown


def read(folder: Path) -> Explorer:
    found = explorer(read_run(folder))
    assert found is not None
    return found


def entries(page: str) -> list[str]:
    """What the key under the strip's heading says of each kind, as HTML."""
    key = page.partition('<ul class="key">')[2].partition("</ul>")[0]
    return [entry for entry in key.split("<li>") if 'class="kind"' in entry]


def test_rows_and_sentences_take_its_verb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bring(monkeypatch)
    index = write_squeezed_run(tmp_path)
    run = read_run(tmp_path)
    found = read(tmp_path)
    assert found.picked == index
    assert [(row[0], row[2]) for row in segment_rows(found, index)[:-2]] == [
        ("0", "kept"), ("1 to 2", "dropped"), ("3 to 4", "squeezed"), ("5", "kept"),
    ]  # fmt: skip
    assert run.plan is not None
    assert plan_sentence(run.plan, run.chain).endswith(
        "it replaces 4 of 6 blocks by 2 segments: 1 dropped, 1 squeezed."
    )


def test_only_kinds_in_use_are_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bring(monkeypatch)
    write_squeezed_run(tmp_path)
    found, page = read(tmp_path), report_page(read_run(tmp_path))
    assert list(found.kinds) == ["keep", "drop", "fit", "squeeze"]
    assert [entry.rpartition("</svg> ")[2].partition("<")[0] for entry in entries(page)] == [
        "kept", "dropped", "fitted", "squeezed",
    ]  # fmt: skip
    assert "merge" not in str(data(page)["explorer"])
    write_run(tmp_path)
    assert list(read(tmp_path).kinds) == ["keep", "drop", "fit", "merge"]


def test_the_pages_data_has_all_that_is_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bring(monkeypatch)
    write_squeezed_run(tmp_path)
    style = KindStyle("squeezed", "Q", ("#7b3f98", "#c79be0"), "dots", changes=True)
    assert read(tmp_path).kinds["squeeze"] == style
    written = data(report_page(read_run(tmp_path)))["explorer"]
    assert written["kinds"]["squeeze"] == {
        "verb": "squeezed", "letter": "Q", "colour": ["#7b3f98", "#c79be0"], "pattern": "dots",
        "changes": True,
    }  # fmt: skip
    assert written["kinds"][written["unchanged"]]["changes"] is False
    assert {one["kind"] for one in written["replacements"]} == {"drop", "fit", "squeeze"}


@pytest.mark.parametrize(
    ("pattern", "over"),
    [
        ("", ""),
        ("stripes", 'fill="url(#stripes)"'),
        ("dots", 'fill="url(#dots)"'),
        ("bars", 'fill="url(#bars)"'),
        ("rings", 'fill="url(#rings)"'),
        ("crosses", '<path class="cross"'),
    ],
)
def test_the_key_shows_its_colours_and_pattern(
    pattern: Pattern, over: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bring(monkeypatch, replace(KIND, pattern=pattern))
    write_squeezed_run(tmp_path)
    entry = entries(report_page(read_run(tmp_path)))[-1]
    assert 'style="--light: #7b3f98; --dark: #c79be0"' in entry
    assert re.findall(r'<rect class="(.*?) *"', entry) == [f"box changed {pattern}".strip()]
    assert over in entry
    assert entry.count("<rect") + entry.count("<path") == (2 if over else 1)


def look(patch: Patch) -> tuple[str, str]:
    """Its ground and its hatch."""
    return to_hex(patch.get_facecolor()), patch.get_hatch() or ""


@pytest.mark.parametrize(
    ("pattern", "ground", "hatch"),
    [
        ("", "#7b3f98", ""),
        ("stripes", "#7b3f98", "////"),
        ("dots", "#7b3f98", "...."),
        ("bars", "#7b3f98", "----"),
        ("rings", "#7b3f98", "oo"),
        ("crosses", "#ffffff", "xxxx"),
    ],
)
def test_the_plan_is_drawn_in_its_colour_and_pattern(
    pattern: Pattern, ground: str, hatch: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bring(monkeypatch, replace(KIND, pattern=pattern))
    write_squeezed_run(tmp_path)
    figure = run_figures(read_run(tmp_path))["plan"]()
    kept, dropped, squeezed = ("#d5dae1", ""), ("#ffffff", "xxxx"), (ground, hatch)
    (axes,), (legend,) = figure.axes, figure.legends
    *drawn, _, _ = map(look, axes.patches)  # less what no plan touches
    assert drawn == [
        *(kept, dropped, dropped, squeezed, squeezed, kept),
        *(kept, dropped, ("#b4470f", ""), squeezed, ("#7b3f98", ""), kept),
    ]
    assert [text.get_text() for text in legend.get_texts()] == ["kept", "dropped", "squeezed"]
    assert list(map(look, legend.get_patches())) == [kept, dropped, squeezed]
    assert ">squeezed</text>" in svg(figure).decode()


def test_a_narrower_segment_is_drawn_lower(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bring(monkeypatch, replace(KIND, width=lambda *_: 0.25))
    write_squeezed_run(tmp_path)
    run = read_run(tmp_path)
    page = explorer(run)
    assert page is not None
    assert {one.width for one in page.replacements if one.kind == "squeeze"} == {0.25}
    (axes,) = run_figures(run)["plan"]().axes
    tall = {patch.get_height() for patch in axes.patches if getattr(patch, "get_y", int)() == -1.2}
    assert sorted(tall) == pytest.approx([0.15, 0.3, 0.6]), "of 0.3 is what no plan touches"


def test_a_verb_is_neither_markup_nor_a_formula(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    verb = r"<img src=x onerror=alert(1)></script><script>alert(2)</script> $\no$"
    bring(monkeypatch, replace(KIND, verb=verb, letter="<b>Q</b>"))
    write_squeezed_run(tmp_path)
    page = report_page(read_run(tmp_path))
    assert verb in shown(page)
    assert data(page)["explorer"]["kinds"]["squeeze"]["verb"] == verb
    assert data(page)["explorer"]["kinds"]["squeeze"]["letter"] == "<b>Q</b>"
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "<b>" not in page
    drawn = svg(run_figures(read_run(tmp_path))["plan"]()).decode()
    assert "<img" not in drawn
    assert r"$\no$</text>" in drawn


@pytest.fixture
def squeezed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    bring(monkeypatch)
    write_squeezed_run(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "colour",
    ["", "red", "#fff", "#12345g", "#1234567", "#123456\n", '#123456"><script>', "#123456; x: y"],
)
@pytest.mark.parametrize("dark", [False, True])
def test_what_is_not_a_colour_is_refused(
    colour: str, dark: bool, squeezed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(monkeypatch, replace(KIND, colour=("#7b3f98", colour) if dark else (colour, "#c79be0")))
    with pytest.raises(UsageError) as refused:
        report_page(read_run(squeezed))
    assert str(refused.value) == (
        f"colour {colour!r} of the candidate kind 'squeeze' is not #rrggbb, such as #1a7f5a"
    )


def test_what_is_not_a_pattern_is_refused(squeezed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(monkeypatch, replace(KIND, pattern="waves"))  # type: ignore[arg-type] # on purpose
    with pytest.raises(UsageError) as refused:
        report_page(read_run(squeezed))
    assert str(refused.value) == (
        "pattern 'waves' of the candidate kind 'squeeze' is not one of '', 'stripes', 'dots', "
        "'crosses', 'bars', 'rings'"
    )
