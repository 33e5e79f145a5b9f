"""`depthopt explore`, and what `depthopt solve` and `report` say of accuracy."""

import json
from pathlib import Path

import pytest

from depthopt.cli.main import main
from depthopt.core.artefacts import save_json
from depthopt.pipeline import explore as exploring
from tests.report.explored_run import explored_of
from tests.report.run_folder import write_run


def depthopt(*arguments: object, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["depthopt", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_what_was_explored_is_printed_with_the_command_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explored_of(write_run(tmp_path))
    recipe = tmp_path / "my recipe.yaml"
    recipe.write_text(
        "model: {name: resnet18, input_size: [3, 32, 32]}\n"
        "data: {source: digits}\nbudget: {speedup: 2}\n"
    )

    def explore(_: object, folder: Path, **options: object) -> object:
        assert folder == tmp_path / "out"
        assert options["minutes"] == 1.5
        return found

    monkeypatch.setattr(exploring, "explore", explore)
    asked = ("explore", recipe, "seed=1", "--minutes", "1.5", "--run-dir", tmp_path / "out")
    assert depthopt(*asked, monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    for text in ("1.25x", "no plan is as fast", "accuracy to expect", "Recommended: 1.25x", "==="):
        assert text in printed
    command = f"depthopt run '{recipe}' seed=1 --run-dir {tmp_path}/out 'budget={{speedup: 1.25}}'"
    assert command in printed.replace("\n", "")
    assert depthopt(*asked, "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["recommended"] == 1.25


def test_no_minutes_and_what_is_no_recipe_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("explore", tmp_path / "a.yaml", "--minutes", "0")
    assert depthopt(*asked, monkeypatch=monkeypatch) == 2
    assert "--minutes is 0" in capsys.readouterr().err


def test_a_report_on_the_terminal_says_what_to_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_json(explored_of(write_run(tmp_path)), tmp_path / "explored.json")
    assert depthopt("report", tmp_path, "--summary", monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "accuracy to expect" in printed
    assert "not measured" in printed
