"""The band of accuracy in a browser: what is drawn, what is said, by keyboard, and the command."""

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

selenium = pytest.importorskip("selenium")
from selenium.webdriver import Chrome, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

from depthopt.core.artefacts import load_json, save_json  # noqa: E402
from depthopt.core.plan import Frontier, Plan  # noqa: E402
from depthopt.core.writing import write_bytes  # noqa: E402
from depthopt.pipeline.recipe import load_recipe  # noqa: E402
from depthopt.pipeline.run import run  # noqa: E402
from depthopt.report.explorer import Explorer, explorer  # noqa: E402
from depthopt.report.page import report_page  # noqa: E402
from depthopt.report.reading import read_run  # noqa: E402
from tests.pipeline.small_run import Log, write_recipe  # noqa: E402
from tests.report.chromium import browser, findings, needs_chromium, open_page  # noqa: E402
from tests.report.explored_run import explored_of  # noqa: E402
from tests.report.run_folder import write_run  # noqa: E402

pytestmark = [pytest.mark.slow, needs_chromium]

PLOT = "const plot = byId('frontier'); return "
RANGE = re.compile(r"(\d+\.\d) to (\d+\.\d) % expected(; measured (\d+\.\d) %( .*)?)?")


def write_page(folder: Path) -> Explorer:
    found = explorer(read_run(folder))
    assert found is not None
    write_bytes(folder / "report.html", report_page(read_run(folder)).encode())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that was explored, and is not finished."""
    path = tmp_path_factory.mktemp("runs") / "explored"
    save_json(explored_of(write_run(path)), path / "explored.json")
    for name in ("plan.json", "result.json", "finetuned/history.json"):
        (path / name).unlink()
    return path


@pytest.fixture(scope="module")
def found(folder: Path) -> Explorer:
    return write_page(folder)


@pytest.fixture
def page(found: Explorer, folder: Path) -> Iterator[Chrome]:
    assert found.points
    with browser(width=1280) as driver:
        open_page(driver, folder / "report.html")
        yield driver
        assert driver.get_log("browser") == []


def drawn(page: Chrome) -> dict[str, dict[str, Any]]:
    """The traces by name."""
    traces = page.execute_script(
        f"{PLOT} plot.data.map((t) => ({{ name: t.name, x: [...t.x], y: [...t.y], "
        "text: t.text, fill: t.fill, axis: t.yaxis, symbol: t.marker?.symbol, line: t.line?.color, "
        "fillcolor: t.fillcolor }))"
    )
    return {trace["name"]: trace for trace in traces}


def test_the_band_and_what_was_measured_are_drawn(page: Chrome, found: Explorer) -> None:
    known = found.accuracy
    assert known is not None
    traces = drawn(page)
    band = traces["accuracy to expect"]
    held = [point for point in found.points if point.expected and point.replaced]
    assert band["x"] == [p.ms for p in held] + [p.ms for p in reversed(held)]
    assert [*zip(band["y"][: len(held)], reversed(band["y"][len(held) :]), strict=True)] == [
        (p.expected[1], p.expected[0]) for p in held if p.expected
    ]
    assert (band["fill"], band["axis"]) == ("toself", "y2")
    assert band["line"] != traces["predicted plans"]["line"]

    by_share = {
        "tried untrained": [p for p in known.points if p.share == 0],
        "tried, finetuned a little": [p for p in known.points if 0 < p.share < 1],
        "tried, finetuned": [p for p in known.points if p.share == 1],
    }
    place = {point.cost: point.ms for point in found.points}
    for name, points in by_share.items():
        told = [f"{p.found.metric:.1f} %, measured at {p.speedup:.2f}x" for p in points]
        assert traces[name]["text"] == told
        assert traces[name]["x"] == [place[p.cost] for p in points]
    assert len({traces[name]["symbol"] for name in by_share}) == 3, "not by colour alone"
    little = by_share["tried, finetuned a little"]
    assert traces["tried, finetuned a little"]["y"] == [p.found.metric for p in little]
    low = min(value for p in held if p.expected for value in p.expected)
    assert all(y < low for y in traces["tried untrained"]["y"]), "on the edge, below the band"


def test_beyond_the_dearest_plan_is_not_measured(page: Chrome, found: Explorer) -> None:
    beyond = [point for point in found.points if not point.expected]
    assert beyond
    (note,) = page.execute_script(f"{PLOT} plot.layout.annotations")
    assert note["text"] == "not measured"
    _, line = page.execute_script("show(0); return byId('frontier').layout.shapes")
    assert [line["x0"], line["x1"]] == [beyond[0].ms, beyond[-1].ms]
    assert page.find_element(By.ID, "f-expected").text == "not measured"
    value = page.find_element(By.ID, "slider").get_attribute("aria-valuetext") or ""
    assert value.endswith(", accuracy not measured")


def test_the_original_is_marked_at_cost_0(page: Chrome) -> None:
    axis = page.execute_script(f"{PLOT} plot.layout.yaxis")
    assert axis["type"] == "log"
    assert axis["ticktext"][0] == "0, original"
    (edge, *_) = axis["tickvals"]
    assert edge == min(drawn(page)["predicted plans"]["y"])
    labels = page.find_elements(By.CSS_SELECTOR, "#frontier .ytick text")
    boxes = sorted((label.rect["y"], label.rect["height"]) for label in labels)
    assert all(a + h <= b + 1 for (a, h), (b, _) in pairwise(boxes))
    page.execute_script("show(EXPLORER.points.length - 1)")
    assert page.find_element(By.ID, "f-expected").text == "98.0 %, the original's"


def test_the_slider_speaks_the_accuracy_of_each_plan(page: Chrome, found: Explorer) -> None:
    slider = page.find_element(By.ID, "slider")
    slider.send_keys(Keys.HOME)
    seen = set()
    for point in found.points:
        said = page.find_element(By.ID, "f-expected").text
        assert (slider.get_attribute("aria-valuetext") or "").endswith(f", accuracy {said}")
        if point.expected and point.replaced:
            told = RANGE.fullmatch(said)
            assert told is not None, said
            low, high = sorted(point.expected)
            assert [float(told[1]), float(told[2])] == pytest.approx([low, high], abs=0.051)
            assert (told[4] is None) == (point.measured is None)
            if point.measured is not None:
                assert float(told[4]) == pytest.approx(point.measured[0], abs=0.051)
                seen.add(told[5])
            bar = page.execute_script(f"{PLOT} plot.layout.shapes[1]")
            assert [bar["x0"], *sorted((bar["y0"], bar["y1"]))] == [point.ms, low, high]
        slider.send_keys(Keys.ARROW_RIGHT)
    assert seen == {None, " after 13 % of the finetune"}


def test_all_is_reached_and_worked_by_the_tab_key_alone(page: Chrome, found: Explorer) -> None:
    focused = (
        "const { id, name, value } = document.activeElement;"
        "return [id || name || '', name ? value : '']"
    )
    reached: dict[str, str] = {}
    for _ in range(40):
        page.switch_to.active_element.send_keys(Keys.TAB)
        name, value = page.execute_script(focused)
        if name == "across" and value == "ms":
            page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
            value = page.execute_script(focused)[1]
        reached[name] = value
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        assert not name or page.execute_script(outline) == "solid", "the focus is seen"
    assert {"scale", "across", "slider", "budget", "command", "copy"} <= set(reached)
    assert reached["across"] == "speedup"
    speedups = [found.original_ms / point.ms for point in found.points]
    assert drawn(page)["predicted plans"]["x"] == pytest.approx(speedups)
    regions = page.find_elements(By.CSS_SELECTOR, "[role=region]")
    assert "Table: Plans that were explored" in [r.get_attribute("aria-label") for r in regions]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_nothing_beside_the_band(
    scheme: str, width: int, folder: Path, tmp_path: Path
) -> None:
    save_json(explored_of(write_run(tmp_path)), tmp_path / "explored.json")
    with browser(width=width, scheme=scheme) as driver:
        for path in (folder, tmp_path):
            write_page(path)
            open_page(driver, path / "report.html")
            assert findings(driver) == [], path
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width
            assert driver.get_log("browser") == []


def test_the_pages_command_makes_its_plan_and_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    run(load_recipe(write_recipe(tmp_path)), folder, until="solve")
    write_page(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with browser() as driver:
        open_page(driver, folder / "report.html")
        driver.find_element(By.ID, "slider").send_keys(Keys.HOME, Keys.ARROW_RIGHT)
        words = shlex.split(driver.find_element(By.ID, "command").text)
    assert (words[:2], words[3], words[5]) == (["depthopt", "run"], "--from", "--run-dir")
    log, new = Log(), Path(words[6])
    recipe = load_recipe(Path(words[2]), words[7:])
    run(recipe, new, until="solve", start_from=Path(words[4]), reporter=log)
    assert log.done == ["solve"]
    assert load_json(Plan, new / "plan.json") == load_json(Frontier, folder / "frontier.json").plan(
        1
    )
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
