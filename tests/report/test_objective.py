"""Costs in a report are of what was solved for, those of kept blocks among them."""

from dataclasses import replace
from pathlib import Path

import pytest

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.band import Band, Range
from depthopt.core.candidate import kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.explored import Explored, Found
from depthopt.frontier.solve import solve
from depthopt.pipeline.result import Result
from depthopt.report.accuracy import run_accuracy
from depthopt.report.compare import compare
from depthopt.report.explorer import explorer
from depthopt.report.facts import accuracy_sentence, importance_sentence, method_rows, segment_rows
from depthopt.report.objective import objective_of, objective_text, original_cost, own_costs
from depthopt.report.page import report_page
from depthopt.report.plots import run_figures
from depthopt.report.reading import read_run
from depthopt.tables.importance import Importance, ImportanceTable
from depthopt.tables.latency import LatencyTable
from tests.report.run_folder import ACCURACY, small_candidates, write_run

KEPT = 0.03125


def write_keeping(folder: Path) -> None:
    """A run whose kept blocks have costs, solved for them."""
    write_run(folder)
    chain = load_json(Chain, folder / "chain.json")
    table = load_json(ImportanceTable, folder / "importance.json")
    kept = {block: Importance(KEPT, metric_change=-100 * KEPT) for block in kept_blocks(chain)}
    words = "2 steps of 32, sgd 0.1, scored on 64 training images, reduced"
    table = replace(table, entries=table.entries | kept, protocol=words)
    save_json(table, folder / "importance.json")
    latency = load_json(LatencyTable, folder / "latency.json")
    frontier = solve(chain, small_candidates(chain), latency, table)
    save_json(frontier, folder / "frontier.json")
    plan, result = frontier.plan(0), load_json(Result, folder / "result.json")
    save_json(plan, folder / "plan.json")
    result = replace(
        result,
        predicted_ms=plan.latency_ms,
        predicted_speedup=plan.speedup,
        method="layermerge",
        picked="predicted",
        importance=f"finetune, {words}",
    )
    save_json(result, folder / "result.json")


def test_kept_blocks_have_their_costs_and_rows_add_up(tmp_path: Path) -> None:
    write_keeping(tmp_path)
    run = read_run(tmp_path)
    found = explorer(run)
    assert found is not None
    assert [block.cost for block in found.blocks] == [KEPT] * len(found.blocks)
    assert original_cost(run) == pytest.approx(KEPT * len(found.blocks))
    for index in range(len(found.points)):
        *rows, total = segment_rows(found, index)
        assert sum(float(row[6] or 0) for row in rows) == pytest.approx(float(total[6]), rel=1e-2)


def test_where_keeping_costs_nothing_is_said_of_kept_blocks(tmp_path: Path) -> None:
    write_run(tmp_path)
    run = read_run(tmp_path)
    found = explorer(run)
    assert found is not None
    assert original_cost(run) == 0
    assert {block.cost for block in found.blocks} == {0.0}
    assert any(row[6] == "" for row in segment_rows(found, -1)[:-2])


def test_a_report_says_method_pick_and_protocol(tmp_path: Path) -> None:
    write_keeping(tmp_path)
    run = read_run(tmp_path)
    assert run.result is not None
    assert run.importance is not None
    rows = dict(method_rows(run.result))
    assert rows["method"] == "layermerge"
    assert rows["plan picked"] == "as the latency table predicts"
    assert rows["importances"].endswith("reduced")
    assert "reduced" in importance_sentence(run.importance)
    page = report_page(run)
    assert "as the latency table predicts" in page
    assert "reduced" in page


def test_older_results_say_nothing_of_it(tmp_path: Path) -> None:
    write_run(tmp_path)
    run = read_run(tmp_path)
    assert run.result is not None
    assert method_rows(run.result) == ()


def test_the_original_is_expected_at_its_own_cost(tmp_path: Path) -> None:
    write_keeping(tmp_path)
    run = read_run(tmp_path)
    known = run_accuracy(run)
    assert known is not None
    assert known.original_cost == original_cost(run)
    assert f"at cost {known.original_cost:.4g}" in accuracy_sentence(known)
    assert run_figures(run)["frontier"]() is not None


def test_a_cheap_plan_lies_between_the_original_and_the_cheapest_tried() -> None:
    original, tried = Found(98.0, 0.5, 400), Range(80.0, 90.0)
    known = Band(ACCURACY, original, (), ((2.0, tried),), original_cost=1.0)
    at, below, between = known.at(1.0), known.at(0.5), known.at(1.5)
    assert at is not None
    assert between is not None
    assert below == at
    assert at.best > original.metric
    assert 90 < between.best < at.best
    assert known.at(2.0) == tried
    dear = Band(ACCURACY, original, (), ((2.0, tried),), original_cost=3.0)
    assert dear.at(1.0) == Range(80.0, at.best), "the original costs more, and says no more"


def test_the_objective_is_the_recipes(tmp_path: Path) -> None:
    write_keeping(tmp_path)
    run = read_run(tmp_path)
    assert objective_of(run) == ("cost", 0.0)
    recipe = (tmp_path / "recipe.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(f"{recipe}solver: {{objective: metric, alpha: 1.5}}\n")
    run = read_run(tmp_path)
    assert objective_text(run) == "metric, alpha 1.5"
    assert own_costs(run) == {}, "regressions of this table have no change of the metric"


def test_what_was_explored_for_another_objective_is_left_alone(tmp_path: Path) -> None:
    write_run(tmp_path)
    known = Explored("net", "digits", ACCURACY, Found(50.0, 1.0, 100), 100, 10)
    for objective, original in (("cost", 50.0), ("exp_metric", 98.125)):
        save_json(replace(known, objective=objective), tmp_path / "explored.json")
        found = run_accuracy(read_run(tmp_path))
        assert found is not None
        assert found.original.metric == original


def test_costs_of_two_objectives_are_not_compared(tmp_path: Path) -> None:
    for name in "ab":
        write_run(tmp_path / name)
    with (tmp_path / "b" / "recipe.yaml").open("a") as file:
        file.write("solver: {objective: exp_metric}\n")
    found = compare([read_run(tmp_path / name) for name in "ab"])
    assert any("a were solved for cost, those of b for exp_metric" in w for w in found.warnings)
