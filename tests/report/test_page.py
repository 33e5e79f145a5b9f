"""The page of one run: its numbers, its names, its size."""

import html
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.plan import Plan
from depthopt.core.trials import Trial, Trials
from depthopt.core.writing import write_text
from depthopt.errors import ArtefactError
from depthopt.report.facts import trial_rows
from depthopt.report.page import report_page
from depthopt.report.reading import read_run
from depthopt.tables.validation import PlanTiming, Validation
from tests.report.run_folder import ACCURACY, CONDITIONS, small_candidates, small_chain, write_run
from tests.resealed import reseal


def shown(page: str) -> str:
    """What the page says without its scripts."""
    return html.unescape(re.sub(r"<(script|style)[\s\S]*?</\1>|<[^>]*>", " ", page))


def data(page: str) -> dict[str, Any]:
    """What the page's scripts read."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(text)


def told(page: str) -> str:
    """How to make another plan: what stands after the budget."""
    return data(page)["explorer"]["another"]["parts"][-1]


def changed(folder: Path, name: str, old: str, new: str) -> str:
    """The page after a change in an artefact."""
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    if name.endswith(".json"):
        reseal(folder / name)
    return report_page(read_run(folder))


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("result.json", '"metric": 97.375', '"metric": 12.3456', "12.35"),
        ("result.json", '"untrained_metric": 91.25', '"untrained_metric": 11.11', "11.11"),
        ("result.json", '"parameters": 2345', '"parameters": 9876', "9,876"),
        ("result.json", '"test_images": 1797', '"test_images": 4321', "4,321 test images"),
        ("latency.json", '"device": "a device"', '"device": "another"', "another"),
        ("importance.json", '"images": 64', '"images": 77', "on 77 images"),
        ("finetuned/history.json", '"steps": 128', '"steps": 555', "555 steps"),
        ("manifest.json", "12.5", "98.7", "98.7"),
        ("manifest.json", "2.9.1", "9.9.9", "torch 9.9.9"),
        ("recipe.yaml", "digits", "letters", "source: letters"),
    ],
)
def test_what_is_written_comes_from_the_artefacts(
    name: str, old: str, new: str, says: str, tmp_path: Path
) -> None:
    write_run(tmp_path)
    assert says not in shown(report_page(read_run(tmp_path)))
    assert says in shown(changed(tmp_path, name, old, new))


def test_what_is_drawn_comes_from_the_artefacts(tmp_path: Path) -> None:
    frontier = write_run(tmp_path)
    before = data(report_page(read_run(tmp_path)))
    cost = frontier.points[0].cost
    after = data(changed(tmp_path, "frontier.json", repr(cost), "7.7"))
    assert before["explorer"]["points"][0]["cost"] == cost
    assert after["explorer"]["points"][0]["cost"] == 7.7
    assert after["explorer"]["blocks"] == before["explorer"]["blocks"]
    ms = before["explorer"]["blocks"][0]["ms"]
    after = data(changed(tmp_path, "latency.json", f'"median_ms": {ms!r}', '"median_ms": 0.625'))
    assert after["explorer"]["blocks"][0]["ms"] == 0.625
    losses = data(changed(tmp_path, "finetuned/history.json", '"loss": 2.0', '"loss": 8.5'))
    assert losses["training"]["history"][0]["loss"] == 8.5
    losses = data(changed(tmp_path, "finetuned/history.json", '"loss": 8.5', '"loss": NaN'))
    assert losses["training"]["history"][0]["loss"] is None


def test_random_plans_that_were_checked_are_shown(tmp_path: Path) -> None:
    write_run(tmp_path)
    command = f"depthopt profile {tmp_path}/recipe.yaml --run-dir {tmp_path} --validate 12"
    assert command in shown(report_page(read_run(tmp_path)))
    timings = (PlanTiming(1.0, 2.0, 2.5, ()), PlanTiming(1.0, 3.0, 2.9, ()))
    checked = Validation("net @4x16x16", CONDITIONS, 0, 0.98, timings)
    save_json(checked, tmp_path / "latency.validation-net-4x16x16.json")
    page = report_page(read_run(tmp_path))
    assert command not in shown(page)
    assert "2 random plans of net @4x16x16: the median absolute error" in shown(page)
    assert data(page)["validations"][0]["timings"][1]["measured_speedup"] == 2.9


def test_plans_that_were_tried_are_shown(tmp_path: Path) -> None:
    frontier = write_run(tmp_path)
    before = report_page(read_run(tmp_path))
    assert "Plans that were tried" not in shown(before)
    assert told(before).endswith("pick=predicted")
    picked = load_json(Plan, tmp_path / "plan.json")
    trials = (
        Trial(picked, 2.125, 0.8375, 81.25),
        Trial(frontier.plan(0), 2.375, failure="loss is NaN"),
        Trial(frontier.plan(1), 2.625),
    )
    save_json(Trials(trials, ACCURACY), tmp_path / "trials.json")
    assert told(report_page(read_run(tmp_path))).endswith("pick=predicted"), "none was finetuned"
    (tmp_path / "recipe.yaml").write_text("trials: {steps: 32}\n")
    run = read_run(tmp_path)
    assert [(row[0], row[1], row[-2], row[-1]) for row in trial_rows(run)] == [
        ("picked", "2.12x", "0.8375", "81.25"),
        ("", "2.38x", "loss is NaN", ""),
        ("", "2.62x", "", ""),
    ]
    page = report_page(run)
    assert all(cell in shown(page) for row in trial_rows(run) for cell in row)
    assert told(page).endswith(" trials.steps=0"), "or it were refused"


def test_names_with_markup_are_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
    chain = small_chain(name)
    write_run(tmp_path, chain, small_candidates(chain), data=name)
    page = report_page(read_run(tmp_path))
    assert name in shown(page)
    assert data(page)["explorer"]["blocks"][0]["name"] == f"{name}.0"
    assert "<img src=x" not in page
    assert "<script>alert" not in page


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    write_run(tmp_path)
    page = report_page(read_run(tmp_path))
    assert len(page.encode()) < 6e6
    own = re.sub(r"<script>\s*/\*\*\s*\* plotly[\s\S]*?</script>", "", page)
    assert len(own) < 100_000
    assert "http" not in own.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert "default-src 'none'" in own


def test_names_that_are_no_utf_8_are_escaped(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    folder.mkdir()
    write_run(folder)
    write_text(tmp_path / "page.html", report_page(read_run(folder)))
    assert r"\udcff" in (tmp_path / "page.html").read_text()


def test_a_run_that_took_no_time_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path)
    result = tmp_path / "result.json"
    result.write_text(re.sub(r'"speedup": [\d.e-]+', '"speedup": 0.0', result.read_text()))
    with pytest.raises(
        ArtefactError, match=r"result.json: speedup: Input should be greater than 0"
    ):
        read_run(tmp_path)
