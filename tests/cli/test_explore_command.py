"""`depthopt explore`, and what `depthopt solve` and `report` say of accuracy."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from depthopt.cli import solve as solving
from depthopt.cli.main import main
from depthopt.core.artefacts import save_json
from depthopt.pipeline import explore as exploring
from depthopt.report.reading import read_run
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
        assert (options["minutes"], options["speedups"]) == (1.5, (1.25, 2.0))
        return found

    monkeypatch.setattr(exploring, "explore", explore)
    asked = ("explore", recipe, "seed=1", "--minutes", "1.5", "--run-dir", tmp_path / "out")
    asked = (*asked, "--speedups", "1.25,2")
    assert depthopt(*asked, monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    for text in ("1.25x", "no plan is as fast", "accuracy to expect", "Recommended: 1.25x", "==="):
        assert text in printed
    command = f"depthopt run '{recipe}' seed=1 'budget={{speedup: 1.25}}' --run-dir {tmp_path}/out"
    assert f"To make it: {command}\n" in printed
    assert depthopt(*asked, "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capsys.readouterr().out)["recommended"] == 1.25


def test_a_network_by_name_is_explored_on_the_data_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = explored_of(write_run(tmp_path))

    def explore(recipe: Any, folder: Path, **options: object) -> object:
        assert recipe.model.name == "mobilenetv2_050"
        assert recipe.data.source == "digits"
        assert recipe.finetune.epochs == 3
        assert folder == Path("runs/mobilenetv2_050-digits")
        assert options["allow_code"] is True
        return found

    monkeypatch.setattr(exploring, "explore", explore)
    asked = ("explore", "mobilenetv2_050", "--data", "digits", "--input-size", "32", "--epochs", 3)
    assert depthopt(*asked, monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    assert (
        "To make it: depthopt compress mobilenetv2_050 --data digits --input-size 32 --epochs 3 "
        "--speedup=1.25 --out runs/mobilenetv2_050-digits\n" in printed
    )


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("a.yaml", "--minutes", "0"), "--minutes is 0"),
        (("a.yaml",), "a.yaml does not exist"),
        (("quickstart", "--speedups", "fast"), "--speedups is 'fast', expected numbers such as"),
        (("quickstart", "--speedups", "2,0"), "speed-up is 0"),
        (("quickstart", "--data", "digits"), "--data goes with a network's name; quickstart is a"),
        (("quickstart", "--pretrained"), "--pretrained goes with a network's name"),
        (("resnet18",), "say what resnet18 is trained on: --data digits"),
    ],
)
def test_what_cannot_be_explored_is_told_in_a_line(
    asked: tuple[str, ...],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert depthopt("explore", *asked, monkeypatch=monkeypatch) in {1, 2}
    assert says in capsys.readouterr().err


def test_a_report_on_the_terminal_says_what_to_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_json(explored_of(write_run(tmp_path)), tmp_path / "explored.json")
    assert depthopt("report", tmp_path, "--summary", monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "accuracy to expect" in printed
    assert "not measured" in printed


def test_solve_says_what_to_expect_of_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frontier = write_run(tmp_path)
    save_json(explored_of(frontier), tmp_path / "explored.json")
    run = read_run(tmp_path)
    context = SimpleNamespace(
        plan=run.plan, frontier=frontier, chain=run.chain, folder=SimpleNamespace(path=tmp_path)
    )
    monkeypatch.setattr(solving, "walk", lambda *_, **__: context)
    assert depthopt("solve", "a.yaml", monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"accuracy to expect: [\d.]+ to [\d.]+ % after a whole finetune; the orig", said
    )
    fastest = str(frontier.original_ms / frontier.points[0].latency_ms)
    assert depthopt("solve", "a.yaml", "--speedup", fastest, monkeypatch=monkeypatch) == 0
    assert "accuracy to expect: not measured" in capsys.readouterr().out
