"""Bad input on the command line: one line that says what to do, exit code 2, nothing written."""

import shutil
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from depthopt.cli.main import main
from depthopt.models.timm import create_timm_model
from tests.malicious import write_checkpoint

RECIPE = """
model: {name: mobilenetv2_035, input_size: [1, 32, 32]}
data: {source: digits, calibration_images: 64}
teacher: {epochs: 1}
budget: {speedup: 1.5}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["depthopt", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.name=mobilenet_v9", "timm knows no model 'mobilenet_v9'; did you mean"),
        ("latency.runtime=onnxruntim", "did you mean 'onnxruntime'?"),
        ("data.source=digit", "unknown data set 'digit'; did you mean digits?"),
        ("data.source=folder:nowhere", "nowhere"),
        ("budget.sped=2", "unknown key budget.sped; did you mean speedup?"),
        ("model.input_size=[2,32,32]", "has 2 channels; expected 1 or 3"),
        ("model.checkpoint=none.safetensors", "none.safetensors does not exist"),
    ],
)
def test_each_is_one_line_with_exit_code_2(
    override: str,
    message: str,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = call("run", str(recipe), override, "--run-dir", "out", monkeypatch=monkeypatch)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert line.startswith("depthopt: ")
    assert message in line
    assert not [path for path in Path("out").rglob("*") if path.suffix != ".json"]


def test_weights_that_are_not_numbers(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = create_timm_model("mobilenetv2_035", {"in_chans": 1, "num_classes": 10})
    tensors = model.state_dict()
    tensors["conv_stem.weight"][0] = float("nan")
    save_file(tensors, "weights.safetensors")
    code = call("run", str(recipe), "model.checkpoint=weights.safetensors", monkeypatch=monkeypatch)
    assert code == 2
    assert "conv_stem.weight holds NaN or infinite values" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_weights_that_are_a_pickle_are_not_read(
    kind: str,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_checkpoint(tmp_path / "weights.pth", tmp_path / "mark", kind)
    code = call("run", str(recipe), "model.checkpoint=weights.pth", monkeypatch=monkeypatch)
    assert code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "weights.pth is " in last
    assert "pickle" in last or "not a whole checkpoint" in last
    assert not (tmp_path / "mark").exists()


def _folder(path: Path) -> None:
    pixels = torch.randint(0, 255, (40, 40, 3), dtype=torch.uint8).numpy()
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (path / split / name).mkdir(parents=True)
            for i in range(3):
                Image.fromarray(pixels).save(path / split / name / f"{i}.jpg")


@pytest.mark.parametrize("fault", ["empty", "truncated"])
def test_image_folders(
    fault: str, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _folder(Path("images"))
    image = Path("images/train/dog/1.jpg")
    if fault == "empty":
        shutil.rmtree("images/train")
        message = "images holds no images under train/"
    else:
        image.write_bytes(image.read_bytes()[:300])
        message = f"{image} is damaged"
    code = call("run", str(recipe), "data.source=folder:images", monkeypatch=monkeypatch)
    assert code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(Path().rglob("*.safetensors"))


def test_a_model_with_no_convolution(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: nn.Linear(4, 4))
    assert call("run", str(recipe), monkeypatch=monkeypatch) == 2
    assert "has no convolution" in capsys.readouterr().err.splitlines()[-1]
    assert not list(Path().rglob("*.safetensors"))


def test_help_and_extract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--help", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    for command in ("run", "extract", "profile", "estimate", "solve", "apply", "finetune", "fuse",
                    "export"):  # fmt: skip
        assert f" {command} " in shown
        assert call(command, "--help", monkeypatch=monkeypatch) == 0
    capsys.readouterr()
    drawn = ["--dot", str(tmp_path / "chain.dot"), "--svg", str(tmp_path / "chain.svg")]
    arguments = ["extract", "resnet18", "--input-size", "3,64,64", *drawn]
    assert call(*arguments, monkeypatch=monkeypatch) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"chain.dot", "chain.svg"}
    assert "61 legal segments" in capsys.readouterr().out
    assert call("extract", "resnet18", "--input-size", "64,64", monkeypatch=monkeypatch) == 2
    assert call("extract", "resnet18", "--no-such-option", monkeypatch=monkeypatch) == 2
