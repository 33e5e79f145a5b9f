"""Several runs side by side."""

from dataclasses import replace
from pathlib import Path

import pytest

from depthopt.core.artefacts import load_json, save_json
from depthopt.core.chain import Chain
from depthopt.errors import UsageError
from depthopt.pipeline.result import Result
from depthopt.report.compare import compare, headings, table_row
from depthopt.report.page import comparison_page
from depthopt.report.reading import read_run
from depthopt.tables.importance import ImportanceTable
from tests.report.run_folder import small_chain, write_run
from tests.report.test_page import data, shown


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "two"):
        write_run(tmp_path / name)
    return tmp_path / "one", tmp_path / "two"


def test_alike_runs_are_compared_without_warnings(two: tuple[Path, Path]) -> None:
    found = compare([read_run(folder) for folder in two])
    assert found.warnings == ()
    rows = [dict(zip(headings(found), table_row(run), strict=True)) for run in found.runs]
    assert [row["run"] for row in rows] == ["one", "two"]
    assert rows[0]["accuracy, %"] == "98.12 to 97.38"
    assert rows[0]["parameters"] == "12,345 to 2,345"


def test_what_must_not_be_compared_is_named(two: tuple[Path, Path]) -> None:
    _, folder = two
    result = load_json(Result, folder / "result.json")
    elsewhere = replace(result.conditions, device="a phone")
    save_json(replace(result, conditions=elsewhere, data="letters"), folder / "result.json")
    table = load_json(ImportanceTable, folder / "importance.json")
    save_json(replace(table, estimator="magnitude"), folder / "importance.json")
    page = comparison_page(compare([read_run(folder) for folder in two]))
    assert "device 'a device' against 'a phone'): compare speed-ups" in shown(page)
    assert "costs of one are by regression, those of two by magnitude" in shown(page)
    assert "on other data (digits, 1,797 test images; letters, 1,797 test images)" in shown(page)


def test_other_networks_are_named(two: tuple[Path, Path], tmp_path: Path) -> None:
    write_run(tmp_path / "other", small_chain("other net"))
    found = compare([read_run(folder) for folder in (two[0], tmp_path / "other")])
    (warning,) = found.warnings
    assert warning == (
        "networks of one and other differ (net @4x16x16, 6 blocks, 12,345 parameters; other net "
        "@4x16x16, 6 blocks, 12,345 parameters): do not compare their costs or metrics"
    )
    wide = replace(load_json(Chain, two[1] / "chain.json"), input_size=(4, 32, 32))
    save_json(wide, two[1] / "chain.json")
    (two[1] / "result.json").unlink()
    found = compare([read_run(folder) for folder in two])
    assert any("networks of one and two differ" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"test_images": 360}, "on other data (digits, 1,797 test images; digits, 360 test images"),
        ({"metric": 91.0}, "one and two are not equally good (98.12 % and 91.00 %)"),
    ],
)
def test_what_was_measured_otherwise_is_named(
    two: tuple[Path, Path], change: dict[str, float], says: str
) -> None:
    result = load_json(Result, two[1] / "result.json")
    if "metric" in change:
        change = {"original": replace(result.original, **change)}
    save_json(replace(result, **change), two[1] / "result.json")
    (warning,) = compare([read_run(folder) for folder in two]).warnings
    assert says in warning


def test_an_unfinished_run_of_other_data_is_named_by_its_recipe(two: tuple[Path, Path]) -> None:
    write_run(two[1], data="letters")
    (two[1] / "result.json").unlink()
    warning, _ = compare([read_run(folder) for folder in two]).warnings
    assert "are on other data (digits, 1,797 test images; letters)" in warning


def test_an_unfinished_run_is_compared_as_far_as_it_is(two: tuple[Path, Path]) -> None:
    (two[1] / "result.json").unlink()
    found = compare([read_run(folder) for folder in two])
    assert found.warnings == ("two: result.json is missing: the stage result is not done yet",)
    assert data(comparison_page(found))["runs"][1]["result"] is None


def test_folders_of_one_name_go_by_their_paths(tmp_path: Path) -> None:
    for name in ("a/run", "b/run"):
        write_run(tmp_path / name)
    found = compare([read_run(tmp_path / name) for name in ("a/run", "b/run")])
    assert [run.name for run in found.runs] == [str(tmp_path / "a/run"), str(tmp_path / "b/run")]


def test_one_run_is_no_comparison(two: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="two run folders or more, got 1"):
        compare([read_run(two[0])])
