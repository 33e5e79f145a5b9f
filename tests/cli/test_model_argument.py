"""A network means the same to every command that takes one: a name, a file, a module, a recipe."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from depthopt.cli.main import main
from depthopt.cli.options import input_size_of, name_of
from depthopt.models.registry import create_model
from tests.user_models import write_model

RECIPE = """
model: {name: "my_model.py:build", input_size: [1, 16, 16]}
data: {source: digits, calibration_images: 128}
budget: {speedup: 1.2}
"""
ALLOWING = ("run", "extract", "profile", "doctor", "estimate", "solve", "apply", "finetune", "fuse",
            "export")  # fmt: skip

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["depthopt", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        found = capsys.readouterr()
        return int(caught.value.code or 0), found.out, found.err

    return run


@pytest.mark.parametrize("model", ["my_model.py:build", "my_model:build"])
def test_a_callable_is_a_network(model: str, call: Call) -> None:
    size = ("--input-size", "1,16,16", "--json")
    code, out, err = call("extract", model, *size)
    assert (code, json.loads(out)["type"]) == (0, "Chain"), err
    assert len(json.loads(out)["blocks"]) == 3
    code, out, err = call("doctor", model, *size)
    assert code == 0, err
    assert "Tiny at 1x16x16" in json.loads(out)["about"]


def test_files_that_changed_are_told_apart_by_name(call: Call, tmp_path: Path) -> None:
    names = []
    for width in ("width=8", "width=6"):
        path = tmp_path / "my_model.py"
        path.write_text(path.read_text().replace("width=8", width))
        _, out, _ = call("extract", "my_model.py:build", "--input-size", "1,16,16", "--json")
        names.append(json.loads(out)["model"])
        assert names[-1] == name_of("my_model.py:build")
    assert all(name.startswith("my_model.py:build-") for name in names)
    assert names[0] != names[1]


def test_a_checkpoint_says_how_many_outputs_there_are(call: Call) -> None:
    state = create_model("small:residual", {"channels": 3, "outputs": 4}).state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, "w.pth")
    for command in ("doctor", "extract"):
        code, out, err = call(command, "small:residual", "--input-size", "32", "--checkpoint",
                              "w.pth", "--json")  # fmt: skip
        assert code == 0, err
        assert "w.pth: took state_dict of" in err
        assert "without the prefix module." in err.replace("\n", " ")
        assert "is to be trained" not in err
        assert "3x32x32" in out or '"input_size": [3, 32, 32]' in out
    code, _, err = call("extract", "small:residual", "--checkpoint", "none.pth")
    assert (code, "none.pth does not exist" in err) == (2, True)


@pytest.mark.parametrize("command", ALLOWING)
def test_a_recipe_that_runs_code_is_refused(command: str, call: Call, tmp_path: Path) -> None:
    Path("r.yaml").write_text(RECIPE)
    code, out, err = call(command, "r.yaml")
    assert (code, out) == (2, "")
    assert "would run the file" in err
    assert "--allow-code" in err
    assert not (tmp_path / "my_model.ran").exists()


def test_with_leave_it_runs(call: Call) -> None:
    Path("r.yaml").write_text(RECIPE)
    code, out, err = call("doctor", "r.yaml", "--allow-code", "--json")
    assert code == 0, err
    assert json.loads(out)["model"].startswith("my_model.py:build-")


def test_a_recipe_names_its_own_checkpoint(call: Call) -> None:
    Path("r.yaml").write_text(RECIPE)
    for command in ("extract", "doctor", "profile"):
        code, _, err = call(command, "r.yaml", "--checkpoint", "w.pth")
        assert code == 2
        assert "write model.checkpoint=w.pth" in err


def test_one_side_is_a_square_colour_image() -> None:
    assert input_size_of("64") == input_size_of("3,64,64") == input_size_of("3x64x64")
