"""Run folders that are finished, unfinished, damaged, or no run folders at all."""

import json
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from depthopt.core.artefacts import load_json, save_json
from depthopt.errors import ArtefactError, UsageError
from depthopt.pipeline.folder import Manifest, StageRecord
from depthopt.pipeline.stages import STAGES
from depthopt.report.facts import headline, result_rows
from depthopt.report.page import report_page
from depthopt.report.reading import WRITTEN_BY, read_run
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable
from tests.report.run_folder import write_run


def test_reports_do_not_import_torch() -> None:
    code = (
        "import sys, depthopt.report.page, depthopt.report.plots; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_linear_layers_are_counted_where_some_go(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    result = read_run(tmp_path / "run").result
    assert result is not None
    for left, rows in ((50, []), (27, [("linear layers", "50", "27")])):
        figures = (replace(result.original, linear=50), replace(result.compressed, linear=left))
        told = result_rows(replace(result, original=figures[0], compressed=figures[1]))
        assert [astuple(row) for row in told if row.label == "linear layers"] == rows


def test_a_finished_run_has_all_and_lacks_nothing(tmp_path: Path) -> None:
    frontier = write_run(tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert run.notes == ()
    assert run.frontier == frontier
    assert run.result is not None
    assert run.name == "run"


def test_the_artefacts_are_those_that_the_stages_write() -> None:
    written = {output: stage.name for stage in STAGES for output in stage.outputs}
    assert {name: written[name] for name in WRITTEN_BY} == WRITTEN_BY


@pytest.mark.parametrize("absent", [*WRITTEN_BY, "recipe.yaml"])
def test_an_unfinished_run_is_shown_and_says_what_is_missing(absent: str, tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / absent).unlink()
    run = read_run(tmp_path)
    (note,) = run.notes
    assert note.startswith(f"{absent} is missing")
    assert note in report_page(run)


def test_a_run_that_was_only_begun_is_shown(tmp_path: Path) -> None:
    save_json(Manifest({}, {"teacher": "x"}), tmp_path / "manifest.json")
    run = read_run(tmp_path)
    assert len(run.notes) == len(WRITTEN_BY) + 1
    assert headline(run) == "Not finished: no plan was picked yet."
    assert "chain.json is missing" in report_page(run)


def test_a_partial_table_of_importances_is_shown(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "importance.json").rename(tmp_path / "importance.partial.json")
    table = load_json(ImportanceTable, tmp_path / "importance.partial.json")
    assert read_run(tmp_path).importance == table


def test_a_result_of_another_plan_is_left_out(tmp_path: Path) -> None:
    frontier = write_run(tmp_path)
    save_json(frontier.plan(0), tmp_path / "plan.json")
    run = read_run(tmp_path)
    assert run.result is None
    assert "result.json is of another plan" in run.notes[0]


@pytest.mark.parametrize("known", [True, False])
def test_a_frontier_of_other_latencies_is_left_out(known: bool, tmp_path: Path) -> None:
    write_run(tmp_path)
    table = load_json(LatencyTable, tmp_path / "latency.json")
    other = {key: network.scaled(2.0) for key, network in table.networks.items()} if known else {}
    save_json(LatencyTable(table.conditions, {}, other), tmp_path / "latency.json")
    run = read_run(tmp_path)
    assert run.frontier is None
    assert run.plan is None
    (note,) = run.notes
    assert note.startswith("frontier.json was solved from other latencies than latency.json holds")
    assert note in report_page(run)


def test_a_stage_begun_anew_is_named(tmp_path: Path) -> None:
    write_run(tmp_path)
    record = {"finetune": StageRecord("old", {})}
    save_json(Manifest(record, {"finetune": "new"}), tmp_path / "manifest.json")
    assert read_run(tmp_path).notes == (
        "finetune was started again and is not finished; its earlier result is shown",
    )


@pytest.mark.parametrize("name", ["manifest.json", "frontier.json", "result.json"])
def test_a_newer_schema_is_refused(name: str, tmp_path: Path) -> None:
    write_run(tmp_path)
    content = json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text(json.dumps(content | {"schema_version": 99}))
    with pytest.raises(ArtefactError, match=r"schema version 99.*upgrade depthopt"):
        read_run(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run's folder"):
        read_run(tmp_path)
