import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from depthopt.cli.main import main
from depthopt.core.artefacts import load_json
from depthopt.core.plan import Plan
from depthopt.errors import ArtefactError, UsageError
from depthopt.export.saved import SavedModel, save
from depthopt.extraction.extract import extract
from depthopt.kinds.candidates import candidates
from depthopt.models.registry import create_model, model_arguments
from depthopt.models.source import Argument
from depthopt.report.predict import predict
from depthopt.shallow.build import build
from depthopt.shallow.fuse import fuse
from tests.networks import randomised
from tests.plans import random_plan
from tests.real_images import crops

NAMES = ("ant", "bee", "[cat]", "dog", "elk")
LOOK = {"mean": (0.4,), "std": (0.2,), "class_names": NAMES}


NETWORK = "small:residual"


def arguments_for(channels: int) -> dict[str, Argument]:
    return model_arguments(NETWORK, (channels, 32, 32), 5)


def make(channels: int) -> tuple[nn.Module, Plan]:
    torch.manual_seed(0)
    model = randomised(create_model(NETWORK, arguments_for(channels)))
    chain = extract(model, (channels, 32, 32), name=NETWORK)
    plan = random_plan(chain, candidates(chain, kinds=("drop", "fit")), seed=1)
    return fuse(build(model, chain, plan)[0]), plan


@pytest.fixture(scope="module")
def grey() -> tuple[nn.Module, Plan]:
    return make(1)


@pytest.fixture
def folder(grey: tuple[nn.Module, Plan], tmp_path: Path) -> Path:
    """A saved network, in a folder beside three photographs."""
    network, plan = grey
    save(network, tmp_path / "net", plan, arguments=arguments_for(1), **LOOK)
    (tmp_path / "images" / "below").mkdir(parents=True)
    for i, pixels in enumerate(crops(3, (3, 64, 64))):
        image = Image.fromarray(((pixels + 1) * 127.5).byte().permute(1, 2, 0).numpy())
        image.save(tmp_path / "images" / ("below" if i == 2 else "") / f"{i}.png")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path


def call(*arguments: object, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["depthopt", "predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    ("channels", "interpolation", "crop_pct"),
    [(1, "bilinear", 1.0), (3, "bicubic", 0.5), (3, "bilinear", 0.5)],
)
@torch.no_grad()
def test_images_are_seen_as_in_training(
    channels: int, interpolation: str, crop_pct: float, folder: Path
) -> None:
    network, plan = make(channels)
    arguments = arguments_for(channels)
    mean, std = ((0.4,), (0.2,)) if channels == 1 else ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    look = {"interpolation": interpolation, "crop_pct": crop_pct, "class_names": NAMES}
    save(network, folder / "net", plan, arguments=arguments, mean=mean, std=std, **look)
    side, inset = round(32 / crop_pct), round((32 / crop_pct - 32) / 2)
    image = Image.open(folder / "images/0.png").convert("L" if channels == 1 else "RGB")
    image = image.resize((side, side), Image.Resampling[interpolation.upper()])
    image = image.crop((inset, inset, inset + 32, inset + 32))
    pixels = torch.from_numpy(np.array(image)).float().reshape(32, 32, channels) / 255
    batch = ((pixels - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1)[None]
    wanted = network(batch).softmax(1)[0].sort(descending=True)
    (found,) = predict(folder / "net", [folder / "images/0.png"])
    assert found.classes == tuple(NAMES[i] for i in wanted.indices)
    assert found.probabilities == pytest.approx(wanted.values.tolist(), abs=1e-4)


def test_files_and_folders_as_a_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert call("net", "images", "images/0.png", "--top", 5, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert [shown.count(name) for name in ("images/0.png", "images/1.png", "below/2.png")] == (
        [2, 1, 1]
    )
    assert all(shown.count(name) == 4 for name in NAMES)


def test_json_holds_the_likeliest_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        call(folder / "net", folder / "images", "--json", "--top=2", monkeypatch=monkeypatch) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert [Path(entry["image"]).name for entry in found] == ["0.png", "1.png", "2.png"]
    for entry in found:
        first, second = entry["probabilities"]
        assert 1 >= first >= second > 0
        assert len(set(entry["classes"]) & set(NAMES)) == 2


def test_what_is_no_image_in_a_folder_is_left_out_and_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(folder / "images", folder / "images" / ".thumbnails")
    (folder / "images" / "._0.png").write_bytes(b"")
    Image.open(folder / "images" / "0.png").save(folder / "images" / "3.webp")
    found = predict(folder / "net", [folder / "images"])
    assert [Path(seen.image).name for seen in found] == ["0.png", "1.png", "3.webp", "2.png"]
    (message,) = (record.getMessage() for record in caplog.records)
    assert "5 files are left out: 4 in .thumbnails/" in message
    assert "1 .txt files" in message


def test_classes_without_names_are_numbers(grey: tuple[nn.Module, Plan], folder: Path) -> None:
    arguments = arguments_for(1)
    save(grey[0], folder / "net", grey[1], arguments=arguments, mean=(0.4,), std=(0.2,))
    (found,) = predict(folder / "net", [folder / "images/0.png"], top=99)
    assert sorted(found.classes) == list("01234")
    assert sum(found.probabilities) == pytest.approx(1)


def test_a_folder_of_an_earlier_version_still_loads(
    grey: tuple[nn.Module, Plan], folder: Path
) -> None:
    path = folder / "net" / "model.json"
    content = json.loads(path.read_text())
    for key in ("interpolation", "crop_pct", "weights", "sha256"):
        del content[key]
    path.write_text(json.dumps(content))
    saved = load_json(SavedModel, path)
    assert (saved.interpolation, saved.crop_pct, saved.input_size) == ("bilinear", 1.0, (1, 32, 32))
    assert predict(folder / "net", [folder / "images/0.png"])
    save(grey[0], folder / "net", grey[1], arguments=arguments_for(1))
    with pytest.raises(ArtefactError, match="does not say how images are normalised"):
        predict(folder / "net", [folder / "images/0.png"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net", "images/1.png", "images/cut.png"), "images/cut.png is damaged"),
        (("net", "images/none.png"), "images/none.png does not exist"),
        (("net", "empty"), "empty holds no images"),
        (("images", "images/1.png"), "images/model.json does not exist"),
        (("net", "images/1.png", "--top", "0"), "--top is 0: Input should be greater than 0"),
    ],
)
def test_bad_input_is_named_in_one_line(
    arguments: tuple[str, ...],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    Path("empty").mkdir()
    Path("images/cut.png").write_bytes(Path("images/0.png").read_bytes()[:900])
    assert call(*arguments, monkeypatch=monkeypatch) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"depthopt: {message}")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("class_names", ["ant"], "names 1 classes, the network has 5 outputs"),
        ("mean", [0.1, 0.2], "has 2 means and 1 deviations for 1 channels"),
        ("interpolation", "11", "interpolation: Input should be 'bilinear' or 'bicubic'"),
        ("std", [0.0], "std.0: Input should be greater than 0"),
        ("crop_pct", 0, "crop_pct: Input should be greater than 0"),
    ],
)
def test_a_folder_that_says_what_cannot_be_is_refused(
    key: str, value: object, message: str, folder: Path
) -> None:
    path = folder / "net" / "model.json"
    content = json.loads(path.read_text()) | {key: value}
    del content["sha256"]
    path.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match=message):
        predict(folder / "net", [folder / "images/0.png"])


def test_a_network_that_does_not_classify_is_refused(
    grey: tuple[nn.Module, Plan], tmp_path: Path
) -> None:
    network, plan = grey
    told = {**LOOK, "class_names": ()}
    save(network, tmp_path / "rows", plan, arguments=arguments_for(1), task="embedding", **told)
    with pytest.raises(UsageError, match=r"rows holds a network for the task embedding, and"):
        predict(tmp_path / "rows", [tmp_path / "any.png"])
