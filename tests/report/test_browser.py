"""The pages in a browser with no network: plans, keyboard, accessibility, console."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

selenium = pytest.importorskip("selenium")
from selenium.webdriver import ActionChains, Chrome, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

from depthopt.core.artefacts import load_json  # noqa: E402
from depthopt.core.chain import Chain  # noqa: E402
from depthopt.core.plan import Plan  # noqa: E402
from depthopt.core.writing import write_bytes  # noqa: E402
from depthopt.extraction.extract import extract  # noqa: E402
from depthopt.frontier.solve import solve  # noqa: E402
from depthopt.kinds.candidates import candidates  # noqa: E402
from depthopt.kinds.kind import Pattern  # noqa: E402
from depthopt.kinds.latency_keys import candidate_ms  # noqa: E402
from depthopt.models.timm import create_timm_model  # noqa: E402
from depthopt.report import facts  # noqa: E402
from depthopt.report.compare import compare  # noqa: E402
from depthopt.report.explorer import explorer  # noqa: E402
from depthopt.report.page import comparison_page, report_page  # noqa: E402
from depthopt.report.reading import read_run  # noqa: E402
from depthopt.tables.importance import ImportanceTable  # noqa: E402
from depthopt.tables.latency import LatencyTable  # noqa: E402
from tests.report.chromium import browser, findings, needs_chromium, open_page  # noqa: E402
from tests.report.other_kind import KIND, bring, write_squeezed_run  # noqa: E402
from tests.report.run_folder import small_candidates, small_chain, write_run  # noqa: E402

pytestmark = [pytest.mark.slow, needs_chromium]

LEAST_COST = 0.005
"""Where the logarithmic plot draws what costs nothing: half the least cost in the tables."""
VERBS = {"keep": "kept", "drop": "dropped", "fit": "fitted", "merge": "merged"}


def write_network(folder: Path, name: str) -> None:
    """The folder of a run of a timm network, its tables written by code."""
    chain = extract(create_timm_model(name, {}), (3, 224, 224), name=name)
    found = candidates(chain, kinds=("drop", "fit", "merge"), max_length=12)
    write_run(folder, chain, found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "mobilenet"
    write_network(path, "mobilenetv2_100")
    write_bytes(path / "report.html", report_page(read_run(path)).encode())
    return path


@pytest.fixture
def page(folder: Path) -> Iterator[Chrome]:
    with browser() as driver:
        open_page(driver, folder / "report.html")
        yield driver
        assert driver.get_log("browser") == []


def text(page: Chrome, name: str) -> str:
    return page.find_element(By.ID, name).text


def rows(page: Chrome) -> list[list[str]]:
    found = "return [...document.querySelector('#segments').tBodies[0].rows].map("
    return page.execute_script(found + "(r) => [...r.cells].map((c) => c.textContent))")


def expected(chain: Chain, plan: Plan, latency: LatencyTable) -> list[list[str]]:
    return [
        [
            str(c.start) if c.end == c.start + 1 else f"{c.start} to {c.end - 1}",
            VERBS[c.kind],
            " ".join(str(part) for part in (*c.operators, c.activation) if part) or "nothing",
            f"{candidate_ms(chain, c, latency):.3f}",
        ]
        for c in plan.choices
    ]


def shows(page: Chrome, folder: Path, plan: Plan) -> None:
    """Check that the page shows just this plan."""
    chain, latency = (
        load_json(Chain, folder / "chain.json"),
        load_json(LatencyTable, folder / "latency.json"),
    )
    *segments, fixed, total = rows(page)
    assert [[s[0], s[2], s[3], s[5]] for s in segments] == expected(chain, plan, latency)
    assert fixed[5] == f"{latency.network(chain).fixed_ms:.3f}"
    assert total[5] == f"{plan.latency_ms:.3f}"
    assert text(page, "f-ms") == f"{plan.latency_ms:.3f} ms of {plan.original_ms:.3f} ms"
    assert text(page, "f-speedup") == f"{plan.speedup:.2f}x"
    replaced = len(plan.replaced)
    if replaced:
        assert f"in {replaced} segment" in text(page, "summary")
    found = explorer(read_run(folder))
    assert found is not None
    index = [point.ms for point in found.points].index(plan.latency_ms)
    assert tuple(map(tuple, rows(page))) == facts.segment_rows(found, index)
    ring, *_ = page.execute_script("return byId('frontier').layout.shapes")
    assert ring["xanchor"] == plan.latency_ms
    assert ring["yanchor"] == pytest.approx(plan.cost or LEAST_COST)


def test_the_browser_has_no_network(tmp_path: Path) -> None:
    write_bytes(tmp_path / "page.html", b"<title>asks</title>")
    ask = "fetch('http://127.0.0.1:9/').catch(() => 0).then(arguments[0])"
    with browser() as driver:
        driver.get((tmp_path / "page.html").as_uri())
        driver.execute_async_script(ask)
        (said,) = driver.get_log("browser")
    assert "ERR_INTERNET_DISCONNECTED" in said["message"]


def test_the_slider_shows_the_plans_that_solve_gives(page: Chrome, folder: Path) -> None:
    chain = load_json(Chain, folder / "chain.json")
    latency = load_json(LatencyTable, folder / "latency.json")
    importance = load_json(ImportanceTable, folder / "importance.json")
    found = candidates(chain, kinds=("drop", "fit", "merge"), max_length=12)
    frontier = solve(chain, found, latency, importance)
    slider = page.find_element(By.ID, "slider")
    assert int(slider.get_attribute("max") or 0) == len(frontier.points) - 1
    for speedup in (4.0, 2.0, 1.3):
        plan = frontier.pick(speedup=speedup)
        index = [p.latency_ms for p in frontier.points].index(plan.latency_ms)
        page.execute_script(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            slider,
            index,
        )
        shows(page, folder, plan)
        budget = text(page, "command").rpartition("{ms: ")[2].partition("}")[0]
        assert frontier.pick(budget_ms=float(budget)) == plan


def test_keys_move_the_slider_and_it_speaks(page: Chrome, folder: Path) -> None:
    frontier = read_run(folder).frontier
    assert frontier is not None
    slider = page.find_element(By.ID, "slider")
    slider.send_keys(Keys.HOME)
    shows(page, folder, frontier.plan(0))
    slider.send_keys(Keys.ARROW_RIGHT)
    shows(page, folder, frontier.plan(1))
    plan = frontier.plan(1)
    said = slider.get_attribute("aria-valuetext") or ""
    assert said.startswith(f"{plan.latency_ms:.3f} milliseconds, {plan.speedup:.2f} times as fast")
    slider.send_keys(Keys.END)
    shows(page, folder, frontier.plan(len(frontier.points) - 1))


def test_a_typed_budget_picks_its_plan(page: Chrome, folder: Path) -> None:
    frontier = read_run(folder).frontier
    assert frontier is not None
    wanted = frontier.original_ms / 2
    budget = page.find_element(By.ID, "budget")
    budget.clear()
    budget.send_keys(f"{wanted:.6f}", Keys.TAB)
    shows(page, folder, frontier.pick(budget_ms=float(f"{wanted:.6f}")))
    budget.clear()
    budget.send_keys("0.000001", Keys.TAB)
    assert "below the fastest plan" in text(page, "budget-note")


def test_a_point_of_the_plot_picks_its_plan(page: Chrome, folder: Path) -> None:
    frontier = read_run(folder).frontier
    assert frontier is not None
    page.execute_script(
        "byId('frontier').emit('plotly_click', {points: [{curveNumber: 0, pointIndex: 3}]})"
    )
    shows(page, folder, frontier.plan(3))


def test_hovering_over_a_point_tells_its_plan(page: Chrome, folder: Path) -> None:
    frontier = read_run(folder).frontier
    assert frontier is not None
    plans = map(frontier.plan, range(len(frontier.points)))
    plan = next(plan for plan in plans if len(plan.replaced) == 5)
    index = [p.latency_ms for p in frontier.points].index(plan.latency_ms)
    page.execute_script(
        "Plotly.Fx.hover(byId('frontier'), [{curveNumber: 0, pointNumber: arguments[0]}])", index
    )
    said = page.find_element(By.CSS_SELECTOR, "#frontier .hovertext").text
    assert f"{plan.latency_ms:.3f} milliseconds" in said
    for choice in plan.replaced:
        what = " + ".join(map(str, choice.operators))
        assert f"{choice.kind} {choice.start}:{choice.end} {what}".strip() in said


def test_the_plot_takes_other_scales(page: Chrome, folder: Path) -> None:
    result = read_run(folder).result
    assert result is not None
    plotted = (
        "return byId('frontier').data.map((trace) => [trace.name, [...trace.x], [...trace.y]])"
    )
    by_ms = {name: x for name, x, _ in page.execute_script(plotted)}
    assert by_ms["finetuned"] == [result.compressed.latency.median_ms]
    for choice in ("linear", "speedup"):
        page.find_element(By.CSS_SELECTOR, f"input[value={choice}]").click()
    drawn = {name: (x, y) for name, x, y in page.execute_script(plotted)}
    assert drawn["finetuned"][0][0] == pytest.approx(result.speedup)
    assert drawn["measured"][0][0] == pytest.approx(result.predicted_speedup)
    assert drawn["predicted plans"][1][-1] == 0


BOXES = """
const box = (g) => { const r = g.querySelector("rect.box"); return r && {
  kind: g.dataset.kind || r.classList[1], title: g.querySelector("title").textContent,
  left: +r.getAttribute("x"), width: +r.getAttribute("width"),
  height: +r.getAttribute("height") }; };
return [...document.querySelectorAll("#strip g")].map(box).filter(Boolean)
"""


def test_the_strip_draws_blocks_skips_barriers_sizes_and_the_plan(tmp_path: Path) -> None:
    write_run(tmp_path)
    found = explorer(read_run(tmp_path))
    assert found is not None
    write_bytes(tmp_path / "report.html", report_page(read_run(tmp_path)).encode())
    kinds_seen = set()
    with browser() as driver:
        open_page(driver, tmp_path / "report.html")
        for index, point in enumerate(found.points):
            driver.execute_script("show(arguments[0])", index)
            drawn, count = driver.execute_script(BOXES), len(found.blocks)
            original, plan = drawn[:count], drawn[count + 1 : -1]  # less what no plan touches
            kinds = ["keep"] * count
            for i in point.replaced:
                one = found.replacements[i]
                kinds[one.start : one.end] = [one.kind] * (one.end - one.start)
            assert [box["kind"] for box in original] == kinds
            assert {drawn[count]["kind"], drawn[-1]["kind"]} == {"fixed"}
            kinds_seen |= set(kinds)
            a_ms = original[0]["width"] / found.blocks[0].ms
            for box, block in zip(original, found.blocks, strict=True):
                assert box["width"] == pytest.approx(a_ms * block.ms)
                assert block.name in box["title"]
            total = a_ms * (point.ms - found.fixed_ms)
            # What takes no time is drawn half a pixel wide.
            assert sum(box["width"] for box in plan) == pytest.approx(total, abs=len(plan) / 2)
            assert len(plan) == count - sum(
                found.replacements[i].end - found.replacements[i].start - 1 for i in point.replaced
            )
        assert kinds_seen == {"keep", "drop", "fit", "merge"}
        heights = [box["height"] for box in original]
        assert heights[0] == heights[2] > heights[3] == heights[5]
        (arc,) = driver.find_elements(By.CSS_SELECTOR, "#strip .arc")
        (barrier,) = driver.find_elements(By.CSS_SELECTOR, "#strip .barrier")
        drawn_at = [original[i]["left"] for i in (1, 3, 5)]
        points = [float(x) for x in re.findall(r"[\d.]+", arc.get_attribute("d") or "")]
        assert [points[0], points[-2]] == pytest.approx(drawn_at[:2])
        place = re.match(r"M([\d.]+) ", barrier.get_attribute("d") or "")
        assert place is not None
        assert float(place[1]) == pytest.approx(drawn_at[2])
        sizes = [t.text for t in driver.find_elements(By.CSS_SELECTOR, "#strip text.quiet")]
        assert [size for size in sizes if "x" in size] == ["16x16", "8x8"]


LOOK = """
const look = (element) => { const { fill, stroke, strokeDasharray } = getComputedStyle(element);
  return [fill, stroke, strokeDasharray]; };
const [first, second] = document.querySelectorAll("#strip g[data-kind=squeeze]");
const key = [...document.querySelectorAll(".key .kind")].at(-1);
const letter = [...document.querySelectorAll("#strip text.inside")].at(-1);
return {
  box: look(first.querySelector("rect.box")),
  over: [...first.querySelectorAll("rect:not(.box), path")].map(look).flat(),
  link: look([...document.querySelectorAll("#strip .link")].at(-1)),
  letter: [letter.textContent, ...look(letter).slice(0, 2)],
  key: look(key.querySelector("rect.box")),
  said: [key.parentNode.textContent.trim(), byId("summary").textContent,
    byId("strip-text").textContent, first.textContent, HOVERS[arguments[0]]],
}
"""


# Of a kind, of the ground, and of text.
COLOURS = {
    "light": ("rgb(123, 63, 152)", "rgb(255, 255, 255)", "rgb(27, 31, 36)"),
    "dark": ("rgb(199, 155, 224)", "rgb(20, 23, 28)", "rgb(232, 235, 239)"),
}


@pytest.mark.parametrize("pattern", ["", "stripes", "dots", "crosses", "bars", "rings"])
def test_a_kind_of_another_package_is_drawn_as_it_says(
    pattern: Pattern, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bring(monkeypatch, replace(KIND, pattern=pattern, verb="<b>squeezed</b>", letter="<i>"))
    index = write_squeezed_run(tmp_path)
    write_bytes(tmp_path / "report.html", report_page(read_run(tmp_path)).encode())
    with browser() as driver:
        open_page(driver, tmp_path / "report.html")
        seen = {}
        for scheme in COLOURS:
            feature = {"name": "prefers-color-scheme", "value": scheme}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            seen[scheme] = driver.execute_script(LOOK, index)
        assert not driver.find_elements(By.CSS_SELECTOR, "b, i")
        assert driver.get_log("browser") == []
    crossed = pattern == "crosses"
    for scheme, (own, ground, line) in COLOURS.items():
        found = seen[scheme]
        assert found["box"] == ([ground, own, "3px, 2px"] if crossed else [own, line, "none"])
        assert found["key"] == found["box"]
        assert found["link"][0] == own
        assert found["letter"] == ["<i>", *([own, ground] if crossed else [ground, own])]
        if crossed:
            assert found["over"][1] == own
        else:
            assert found["over"][:1] == ([f'url("#{pattern}")'] if pattern else [])
    key, summary, words, title, hover = seen["light"]["said"]
    assert key == "<b>squeezed</b>"
    assert "1 dropped, 1 <b>squeezed</b>." in summary
    assert "Blocks <b>squeezed</b>: 3 to 4." in words
    assert title.endswith("; <b>squeezed</b>")
    assert "1 &lt;b&gt;squeezed&lt;/b&gt;" in hover


def test_pointing_at_the_strip_tells_what_is_there(page: Chrome) -> None:
    assert text(page, "strip-part") == "Point at a part of the picture to read what it is."
    (box, *_) = page.find_elements(By.CSS_SELECTOR, "#strip g")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
    ActionChains(page).move_to_element(box).perform()
    assert text(page, "strip-part").startswith("block 0, conv_stem: 3-32 k3x3")


def test_compared_runs_are_drawn_with_their_figures(tmp_path: Path) -> None:
    frontiers = [write_run(tmp_path / name) for name in ("one", "two")]
    comparison = compare([read_run(tmp_path / name) for name in ("one", "two")])
    write_bytes(tmp_path / "compare.html", comparison_page(comparison).encode())
    with browser() as driver:
        open_page(driver, tmp_path / "compare.html")
        traces = driver.execute_script(
            "return byId('plot').data.map((t) => [t.name, [...t.x], [...t.y]])"
        )
    for name, frontier in zip(("one", "two"), frontiers, strict=True):
        lines, plan, before, after = (trace[1:] for trace in traces if trace[0] == name)
        assert lines[0] == [frontier.original_ms / p.latency_ms for p in frontier.points]
        assert plan == [
            [frontier.plan(len(lines[0]) // 2).speedup],
            [frontier.plan(len(lines[0]) // 2).cost],
        ]
        assert before[1] == [91.25 - 98.125]
        assert after[1] == [97.375 - 98.125]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_nothing(scheme: str, width: int, folder: Path, tmp_path: Path) -> None:
    for run in ("one", "two"):
        write_run(tmp_path / run)
    comparison = compare([read_run(tmp_path / run) for run in ("one", "two")])
    write_bytes(tmp_path / "compare.html", comparison_page(comparison).encode())
    (tmp_path / "two" / "result.json").unlink()
    unfinished = report_page(read_run(tmp_path / "two"))
    write_bytes(tmp_path / "unfinished.html", unfinished.encode())
    pages = [folder / "report.html", tmp_path / "compare.html", tmp_path / "unfinished.html"]
    with browser(width=width, scheme=scheme) as driver:
        for path in pages:
            open_page(driver, path)
            assert findings(driver) == [], path
            overflow = "return document.documentElement.scrollWidth"
            assert driver.execute_script(overflow) <= width
            assert driver.get_log("browser") == []


def test_axe_finds_a_slider_without_a_name(page: Chrome) -> None:
    page.execute_script("document.querySelector('label[for=slider]').remove()")
    ((name, _, nodes),) = findings(page)
    assert name == "label"
    assert 'id="slider"' in nodes[0]


def test_markup_in_names_makes_nothing_happen(tmp_path: Path) -> None:
    name = "<img src=x onerror=document.title='ran'><b>bold</b>"
    chain = small_chain(name)
    write_run(tmp_path, chain, small_candidates(chain), data=name)
    write_bytes(tmp_path / "report.html", report_page(read_run(tmp_path)).encode())
    with browser() as driver:
        open_page(driver, tmp_path / "report.html")
        time.sleep(0.3)
        assert name in driver.find_element(By.TAG_NAME, "h1").text
        assert driver.title == f"{name}: depthopt report"
        assert not driver.find_elements(By.CSS_SELECTOR, "img, b")
        assert any(name in row[1] for row in rows(driver))


def test_a_run_that_was_only_begun_makes_no_error(tmp_path: Path) -> None:
    write_run(tmp_path)
    for path in tmp_path.rglob("*.json"):
        if path.name != "manifest.json":
            path.unlink()
    write_bytes(tmp_path / "report.html", report_page(read_run(tmp_path)).encode())
    with browser() as driver:
        open_page(driver, tmp_path / "report.html")
        assert "chain.json is missing" in driver.find_element(By.TAG_NAME, "main").text
        assert driver.get_log("browser") == []
