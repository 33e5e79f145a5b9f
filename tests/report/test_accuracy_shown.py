"""The band of accuracy in a run's report: its points, its end, the original."""

from dataclasses import replace
from pathlib import Path

import pytest

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.explored import Explored
from depthopt.core.plan import Plan
from depthopt.core.trials import Trial, Trials
from depthopt.core.writing import write_bytes
from depthopt.report.accuracy import NOT_MEASURED, point_text, run_accuracy
from depthopt.report.explored import expectation, headings, plot, recommendation, rows
from depthopt.report.explorer import explorer
from depthopt.report.facts import accuracy_sentence, expected_sentence
from depthopt.report.page import report_page
from depthopt.report.reading import read_run
from tests.report.explored_run import explored_of
from tests.report.run_folder import ACCURACY, write_run
from tests.report.test_page import data, shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_json(explored_of(write_run(tmp_path)), tmp_path / "explored.json")
    return tmp_path


def test_every_plan_has_its_range_and_those_beyond_have_none(folder: Path) -> None:
    run = read_run(folder)
    found, known = explorer(run), run_accuracy(run)
    assert found is not None
    assert known is not None
    dearest = max(cost for cost, _ in known.knots)
    for point in found.points:
        assert (point.expected is None) == (point.cost > dearest)
    assert found.points[0].expected is None
    assert found.points[-1].replaced == ()
    assert found.points[-1].expected == (98.0, 98.0), "the original is what it is"
    ranges = [point.expected for point in found.points[:-1] if point.expected is not None]
    assert ranges == sorted(ranges), "the dearer, the worse"


def test_the_page_says_and_draws_it(folder: Path) -> None:
    page = report_page(read_run(folder))
    assert "accuracy once finetuned" in shown(page)
    assert "Plans that were explored" in shown(page)
    assert "Recommended: 1.25x. It is the least costly." in shown(page)
    assert "nothing was measured" in shown(page)
    drawn = data(page)["explorer"]
    assert drawn["accuracy"]["original"]["metric"] == 98.0
    shares = {point["share"] for point in drawn["accuracy"]["points"]}
    assert shares == {0.0, 0.125, 1.0}
    assert drawn["points"][0]["expected"] is None


def test_a_plan_that_was_carried_out_says_what_it_did_itself(folder: Path) -> None:
    found = explorer(read_run(folder))
    explored = load_json(Explored, folder / "explored.json")
    assert found is not None
    own = {
        each.plan.cost: (each.finetuned[-1].found.metric, each.finetuned[-1].steps / explored.steps)
        for each in explored.attempts
    }
    plan = load_json(Plan, folder / "plan.json")
    own[plan.cost] = (97.375, 1.0)  # the result's, which was wholly finetuned
    assert {p.cost: p.measured for p in found.points if p.measured} == own
    assert found.points[-1].measured is None, "the original is what it is"


def test_a_run_that_carried_nothing_out_shows_no_band(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "result.json").unlink()
    run = read_run(tmp_path)
    assert run_accuracy(run) is None
    page = report_page(run)
    assert "to expect" not in shown(page)
    assert data(page)["explorer"]["accuracy"] is None
    assert "not measured" in expected_sentence(None, load_json(Plan, tmp_path / "plan.json"))


def test_a_runs_own_result_is_a_point(tmp_path: Path) -> None:
    frontier = write_run(tmp_path)
    known = run_accuracy(read_run(tmp_path))
    assert known is not None
    assert known.original.metric == 98.125
    assert [(p.found.metric, p.share) for p in known.points] == [(91.25, 0.0), (97.375, 1.0)]
    plan = load_json(Plan, tmp_path / "plan.json")
    expected = known.at(plan.cost)
    assert expected is not None
    assert expected.holds(97.375)
    assert point_text(known, frontier, frontier.points[0]) == NOT_MEASURED
    assert point_text(known, frontier, frontier.points[-1]) == "98.1 %"
    assert "the original has 98.12 %" in expected_sentence(known, plan)
    assert "not measured: no plan" in expected_sentence(known, frontier.plan(0))


def test_trials_are_points_of_their_share_of_the_finetune(folder: Path) -> None:
    picked = load_json(Plan, folder / "plan.json")
    trials = (Trial(picked, 2.0, 0.5, 81.25), Trial(picked, 2.0, failure="NaN"))
    save_json(Trials(trials, ACCURACY), folder / "trials.json")
    recipe = "data: {calibration_images: 512}\ntrials: {steps: 32}\n"
    write_bytes(folder / "recipe.yaml", recipe.encode())
    known = run_accuracy(read_run(folder))
    assert known is not None
    (point,) = [p for p in known.points if p.found.metric == 81.25]
    assert (point.share, point.found.images) == (0.25, 512)
    write_bytes(folder / "recipe.yaml", b"data: {}\n")
    known = run_accuracy(read_run(folder))
    assert known is not None
    assert 81.25 not in [p.found.metric for p in known.points], "of how many images is not known"


def test_trials_that_were_not_finetuned_are_points_of_untrained_networks(folder: Path) -> None:
    picked = load_json(Plan, folder / "plan.json")
    trials = (Trial(picked, 2.0, 0.5, 81.25, losses=(0.25, 0.75) * 32),)
    save_json(Trials(trials, ACCURACY), folder / "trials.json")
    write_bytes(folder / "recipe.yaml", b"data: {}\n")
    known = run_accuracy(read_run(folder))
    assert known is not None
    (point,) = [p for p in known.points if p.found.metric == 81.25]
    assert (point.share, point.found.images) == (0.0, 64)


def test_what_was_explored_of_another_original_is_left_out(folder: Path) -> None:
    found = load_json(Explored, folder / "explored.json")
    save_json(replace(found, teacher="other"), folder / "explored.json")
    run = read_run(folder)
    assert run.explored is None
    assert any("explored.json is of another original" in note for note in run.notes)


def test_its_rows_and_sentences_are_of_what_was_found(folder: Path) -> None:
    found = load_json(Explored, folder / "explored.json")
    first, cheapest, *_, beyond = rows(found)
    assert len(first) == len(cheapest) == len(beyond) == len(headings(found))
    assert first[0] == "original"
    assert first[-1] == "98.0 % now"
    assert cheapest[0] == "1.25x"
    assert cheapest[4] == "90.0"
    assert cheapest[5] == "97.0 (16), 97.5 (128)"
    assert cheapest[6].endswith(" %")
    assert beyond[:3] == ("4x", "no plan is as fast", "2.50x at most")
    assert "16, 128 steps" in expectation(found)
    assert recommendation(found) == "Recommended: 1.25x. It is the least costly."
    assert "not finished" in recommendation(replace(found, recommended=None, reason=""))


def test_the_plot_has_a_column_a_plan_and_the_originals_line(folder: Path) -> None:
    found = load_json(Explored, folder / "explored.json")
    lines = plot(found).splitlines()
    assert len({line.index("|") for line in lines[:-1]}) == 1
    assert any("-" * 5 in line for line in lines)
    assert sum(line.count("===") for line in lines) >= 3
    speedups = [f"{one.speedup:.2f}x" for one in found.attempts]
    assert lines[-1].split() == ["+" + speedups[0], *speedups[1:]] or all(
        speedup in lines[-1] for speedup in speedups
    )
    assert plot(replace(found, attempts=(), asked=())) == ""


def test_the_sentence_says_how_far_the_band_reaches(folder: Path) -> None:
    known = run_accuracy(read_run(folder))
    assert known is not None
    assert f"Beyond cost {known.knots[-1][0]:.4g}" in accuracy_sentence(known)
    assert "No plan was finetuned" in accuracy_sentence(replace(known, knots=()))
