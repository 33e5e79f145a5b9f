"""Files of schema version 1, written by ``write_version_1.py``: later versions read them."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import depthopt
from depthopt.check.baseline import Baseline, read_baseline
from depthopt.cli.main import main
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.old_words import read_artefact
from depthopt.core.plan import Frontier, Plan
from depthopt.core.training import TrainResult
from depthopt.core.trials import Trials
from depthopt.export.saved import SavedModel
from depthopt.pipeline.context import CandidateList
from depthopt.pipeline.folder import Manifest
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.result import Result
from depthopt.pipeline.run import STAGE_NAMES, run
from depthopt.report.page import report_page
from depthopt.report.reading import read_run
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable
from depthopt.tables.validation import Validation
from tests.golden.compare import difference, summary_in_new_words, table_in_new_words
from tests.golden.plain import (
    plain_candidates,
    plain_chain,
    plain_frontier,
    plain_importances,
    plain_latencies,
    plain_plan,
)
from tests.golden.write_version_1 import images, summary

FOLDER = Path(__file__).parent / "version_1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())

CLOSE = 1e-5
"""Of the largest logit: nothing but a processor's rounding."""


def read(kind: type[Any], name: str) -> Any:
    return load_json(kind, FOLDER / "artefacts" / f"{name}.json")


def test_the_files_are_of_version_1() -> None:
    files = [*FOLDER.glob("artefacts/*.json"), *FOLDER.glob("run/out/*.json")]
    assert len(files) == 19
    assert {json.loads(path.read_text())["schema_version"] for path in files} == {1}


def test_a_chain_and_its_candidates_are_read() -> None:
    chain, found = read(Chain, "chain"), read(CandidateList, "candidates").candidates
    assert difference(EXPECTED["chain"], plain_chain(chain), "bytes") is None
    assert difference(EXPECTED["candidates"], plain_candidates(chain, found), "bytes") is None
    assert {candidate.kind for candidate in found} == {"keep", "drop", "fit", "merge"}
    assert [Candidate.parse(candidate.key) for candidate in found] == list(found)


def test_tables_are_read() -> None:
    table = read(LatencyTable, "latency")
    assert difference(EXPECTED["latency"], plain_latencies(table), "bytes") is None
    for name in ("magnitude", "fit", "unlabelled"):
        importance = read(ImportanceTable, name)
        expected = table_in_new_words(EXPECTED[name])
        assert difference(expected, plain_importances(importance), "bytes") is None


def test_a_frontier_a_plan_and_trials_are_read() -> None:
    frontier, plan = read(Frontier, "frontier"), read(Plan, "plan")
    keys = list(EXPECTED["candidates"])
    assert difference(EXPECTED["frontier"], plain_frontier(frontier, keys), "bytes") is None
    assert difference(EXPECTED["plan"], plain_plan(plan), "bytes") is None
    assert plan == frontier.pick(budget_ms=plan.latency_ms)
    assert {choice.kind for choice in plan.choices} == {"keep", "drop", "fit", "merge"}
    first, second, third = read(Trials, "trials").trials
    assert (first.plan, first.speedup, first.loss, first.metric) == (plan, 1.5, 0.25, 91.5)
    assert (second.plan, second.failure) == (frontier.pick(speedup=2), "the loss is not finite")
    assert (third.plan, third.is_done) == (frontier.plan(0), False)


def test_a_validation_and_a_baseline_are_read() -> None:
    plan, table = read(Plan, "plan"), read(LatencyTable, "latency")
    ((network, latency),) = table.networks.items()
    validation = read(Validation, "validation")
    (timing,) = validation.timings
    assert (validation.network, validation.conditions) == (network, table.conditions)
    assert timing.replaced == plan.replaced
    assert (timing.predicted_ms, timing.measured_speedup) == (plan.latency_ms, 1.4)
    baseline = read_baseline(FOLDER / "artefacts" / "baseline.json")
    assert baseline == read(Baseline, "baseline")
    assert (baseline.latency, baseline.conditions) == (latency.total, table.conditions)
    assert list(baseline.yardsticks) == list(table.entries)[:3]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Chain, "chain"),
        (CandidateList, "candidates"),
        (LatencyTable, "latency"),
        (ImportanceTable, "fit"),
        (Frontier, "frontier"),
        (Plan, "plan"),
        (Trials, "trials"),
        (Validation, "validation"),
        (Baseline, "baseline"),
    ],
)
def test_what_was_read_is_the_same_when_written_and_read_again(
    kind: type[Any], name: str, tmp_path: Path
) -> None:
    value = read(kind, name)
    save_json(value, tmp_path / "again.json")
    assert load_json(kind, tmp_path / "again.json") == value


@pytest.mark.parametrize("name", ["trained", "fused"])
def test_a_saved_network_is_loaded(name: str) -> None:
    network = depthopt.load(FOLDER / name)
    with torch.no_grad():
        logits = network(images(2, 20))
    golden = torch.tensor(EXPECTED[name])
    torch.testing.assert_close(logits, golden, rtol=0, atol=CLOSE * float(golden.abs().max()))
    saved = load_json(SavedModel, FOLDER / name / "model.json")
    assert saved.plan == read(Plan, "plan")
    assert saved.class_names == tuple("abcdefghij")
    assert (saved.fused, saved.form) == (
        (True, "fused") if name == "fused" else (False, "expanded")
    )


class Log:
    """Remembers which stages were carried out and which skipped."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.kept: list[str] = []

    def started(self, stage: str) -> None:
        self.done.append(stage)

    def progress(self, done: int, total: int, what: str) -> None:
        pass

    def finished(self, stage: str, seconds: float, summary: str) -> None:
        pass

    def skipped(self, stage: str) -> None:
        self.kept.append(stage)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, in the working folder."""
    shutil.copytree(FOLDER / "run", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("out")


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["depthopt", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_a_finished_run_is_not_carried_out_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, log = digests(folder), Log()
    run(load_recipe(Path("small.yaml")), folder, reporter=log)
    assert (log.done, tuple(log.kept)) == ([], STAGE_NAMES)
    recipe = folder / "recipe.yaml"  # in new words now
    assert load_recipe(recipe) == load_recipe(FOLDER / "run" / recipe)
    written_anew = {str(recipe): digests(folder)[str(recipe)]}
    run(load_recipe(recipe), folder, reporter=log)
    assert (log.done, tuple(log.kept)) == ([], STAGE_NAMES * 2)
    assert digests(folder) == before | written_anew
    command = ("run", "small.yaml", "--run-dir", "out", "--json")
    assert call(*command, monkeypatch=monkeypatch) == 0
    assert digests(folder) == before | written_anew
    shown, held = (
        json.loads(capsys.readouterr().out),
        json.loads((folder / "result.json").read_text()),
    )
    of_method = {"importance": "", "method": "", "picked": ""}
    # Of what it did not say yet.
    unsaid = {"inputs": "", "warnings": [], "further": [], **of_method}
    held = read_artefact("Result", held) | unsaid
    for network in ("original", "compressed"):
        held[network] = {**held[network], "linear": 0}
    conditions = {**held["conditions"], "ballast_mib": None}
    assert {**shown, "schema_version": 1} == held | {"conditions": conditions}


def test_another_budget_is_picked_in_a_finished_run(folder: Path) -> None:
    """Of its own old files: the chain, the candidates and both tables."""
    log = Log()
    recipe = load_recipe(Path("small.yaml"), ["budget.speedup=2"])
    context = run(recipe, folder, until="solve", reporter=log)
    assert log.done == ["solve"]
    old = load_json(Frontier, FOLDER / "run" / "out" / "frontier.json")
    assert context.frontier == old
    assert context.plan == old.pick(speedup=2)


def test_a_plan_is_carried_out_anew_where_its_network_lay(folder: Path) -> None:
    log, quick = Log(), ["apply.compensate=false", "apply.classifier=false"]
    recipe = load_recipe(Path("small.yaml"), quick)
    context = run(recipe, folder, until="apply", reporter=log)
    assert log.done == ["apply"]
    assert context.path("applied") == folder / "shallow"
    assert not (folder / "applied").exists()
    assert context.network("applied").meta["form"] == "fused"
    run(recipe, folder, until="apply", reporter=log)
    assert log.done == ["apply"]
    assert "fuse" in load_json(Manifest, folder / "manifest.json").stages


def test_a_runs_artefacts_are_read(folder: Path) -> None:
    found = read_run(folder)
    assert found.notes == ()
    assert found.plan is not None
    assert difference(EXPECTED["run"], plain_plan(found.plan), "bytes") is None
    for kind, name in (
        (Manifest, "manifest"),
        (Result, "result"),
        (TrainResult, "finetuned/history"),
    ):
        load_json(kind, folder / f"{name}.json")
    assert found.chain is not None
    assert found.latency is not None
    assert found.latency.network(found.chain).total.median_ms == found.plan.original_ms


def test_a_report_of_a_run_says_what_it_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [])
    said = without_column(summary(str(folder)), "accuracy to expect")
    before = summary_in_new_words((FOLDER / "summary.txt").read_text())
    assert said.split() == before.split()
    assert rows(said) == rows(before)
    found = read_run(folder)
    page = report_page(found)
    assert found.chain is not None
    assert all(block.name in page for block in found.chain.blocks)


def without_column(summary: str, last: str) -> str:
    """The summary without the last column of the table that has a heading of this name."""
    lines = summary.splitlines()
    heading = next(i for i, line in enumerate(lines) if f"{last} ┃" in line)
    cut = lines[heading].rindex("┃", 0, -1)
    ends = {"┳": "┓", "╇": "┩", "┴": "┘"}
    end = next(i for i in range(heading, len(lines)) if lines[i].startswith("└"))
    for i in range(heading - 1, end + 1):
        lines[i] = lines[i][:cut] + ends.get(lines[i][cut], lines[i][cut])
    return "\n".join(lines)


def rows(summary: str) -> list[str]:
    """The tables' lines; sentences are broken where the words allow."""
    return [line for line in summary.splitlines() if line[0] in "┏┃┡│└"]


def test_old_table_files_are_solved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artefacts = FOLDER / "artefacts"
    tables = (f"{artefacts / 'latency.json'}", f"{artefacts / 'fit.json'}")
    files = (*tables, f"--chain={artefacts / 'chain.json'}")
    out, plan = tmp_path / "plan.json", read(Plan, "plan")
    name = read(Chain, "chain").blocks[-1].name
    wish = (f"--keep={name}", f"--budget-ms={plan.latency_ms!r}")
    assert call("frontier", *files, *wish, f"--out={out}", monkeypatch=monkeypatch) == 0
    assert load_json(Plan, out) == plan
