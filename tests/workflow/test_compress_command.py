"""`depthopt compress` and `init` as a stranger calls them: a file of theirs, and its checkpoint."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from depthopt.cli.main import main
from depthopt.models.names import digest_of_code, told_as
from depthopt.models.registry import create_model, model_arguments
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import STAGE_NAMES
from depthopt.workflow.compress import compress
from tests.pipeline.small_run import Log, write_table

SIZE = (1, 16, 16)

CODE = """
from torch import nn
from parts import conv


class Tiny(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.body = nn.Sequential(*(conv(1 if i == 0 else width, width) for i in range(4)))
        self.head = nn.Linear(width, num_classes)

    def forward(self, x, mask=None):
        return self.head(self.body(x).mean((2, 3)))


class Two(Tiny):
    def forward(self, x):
        logits = super().forward(x)
        return logits, logits


class Map(Tiny):
    def forward(self, x):
        return self.body(x)


def build(num_classes=7):
    return Tiny(num_classes)


def needs(width):
    return Tiny(10, width)


def nothing():
    Tiny(10)


def raises():
    raise ValueError("no such thing")
"""

PARTS = """
from torch import nn


def conv(before, after):
    layers = nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()
    return nn.Sequential(*layers)
"""

CALL = """
import sys
from functools import partial

from depthopt.latency.measure import Effort, time_in_turn
from depthopt.pipeline import measure

measure.time_in_turn = partial(time_in_turn, effort=Effort(seconds=0.05, warmup_s=0.01))

from depthopt.cli.main import main

main()
"""

TINY = (
    "budget={cost: 1000}",
    "candidates={kernel_sizes: [1, 3], max_length: 6}",
    "importance.images=64",
    "apply.images=64",
    "finetune.steps=2",
    "data.calibration_images=64",
)

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's file and what it imports, as the working directory."""
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    assert place.is_dir()

    def run(words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["depthopt", *shlex.split(words)])
        with pytest.raises(SystemExit) as caught:
            main()
        found = capsys.readouterr()
        return int(caught.value.code or 0), found.out, found.err

    return run


def made(name: str = "mine.py:build", outputs: int = 10) -> nn.Module:
    return create_model(name, model_arguments(name, SIZE, outputs), allow_code=True)


def save(path: str, model: nn.Module) -> None:
    weights = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 3}, path)


def test_a_file_and_its_checkpoint_become_a_faster_network(place: Path, call: Call) -> None:
    from depthopt.extraction.extract import extract

    model = made()
    save("mine.pth", model)
    name = told_as("mine.py:build", digest_of_code("mine.py:build"))
    write_table(extract(model, SIZE, name=name), place / "table.json")
    words = "compress mine.py:build --checkpoint mine.pth --data digits --input-size 1,16,16"
    words += " --out run latency.table=table.json"
    done = subprocess.run(
        [sys.executable, "-c", CALL, *words.split(), *TINY],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "took state_dict of" in done.stderr
    assert "without the prefix module." in done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"accuracy.*%", done.stdout)
    run = place / "run"
    assert (run / "fused.onnx").is_file()
    assert (run / "report" / "report.html").is_file()

    # The recipe in the folder does the same: nothing is done again, and no code runs unasked.
    code, _, err = call("run run/recipe.yaml --run-dir run")
    assert code == 2
    assert "--allow-code" in err
    code, _, err = call("run run/recipe.yaml --run-dir run --allow-code")
    assert code == 0, err
    assert err.count("done before") == len(STAGE_NAMES)
    code, out, err = call("profile run/recipe.yaml --run-dir run --allow-code --json")
    assert code == 0, err
    assert json.loads(out)["network"].startswith(f"{name} ")

    # So does the call from Python, whose network comes from the file again.
    log, changes = Log(), [*TINY, "latency.table=table.json"]
    again = compress(
        "mine.py:build", "digits", None, run_dir="run", input_size=SIZE, checkpoint="mine.pth",
        overrides=changes, reporter=log,
    )  # fmt: skip
    assert log.skipped_stages == list(STAGE_NAMES)
    assert again.network(torch.zeros(2, *SIZE)).shape == (2, 10)


def test_init_writes_the_recipe_that_a_run_takes(place: Path, call: Call) -> None:
    words = "init mine.py:build --data digits --input-size 1,16,16 --speedup 1.5 --out sub/r.yaml"
    code, out, err = call(words)
    assert (code, out) == (0, "sub/r.yaml\n"), err
    recipe = load_recipe(place / "sub" / "r.yaml")
    assert recipe.model.name == "../mine.py:build"
    assert recipe.model.sha256 == digest_of_code("mine.py:build")
    assert "depthopt run r.yaml --allow-code" in (place / "sub" / "r.yaml").read_text()
    assert call(words)[0] == 2, "a file that is there is not written over"
    code, out, err = call("run sub/r.yaml --dry-run --allow-code --run-dir other")
    assert code == 0, err
    assert not (place / "other").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("model.arguments={width: 4}", {"model": {"arguments": {"width": 4}}}),
        ("budget.ms=4", {"budget": {"ms": 4.0, "speedup": None}}),
        ("model.checkpoint=four.pth", {"teacher": {"learning_rate": 5e-4}}),
    ],
)
def test_changes_count_while_the_network_is_made(
    words: str, expected: dict[str, dict[str, object]], place: Path, call: Call
) -> None:
    save("four.pth", made("mine.py:Tiny"))
    name = "mine.py:needs" if "width" in words else "mine.py:Tiny"
    code, _, err = call(f"init {name} --data digits --input-size 1,16,16 --out r.yaml {words!r}")
    assert code == 0, err
    content = yaml.safe_load((place / "r.yaml").read_text())
    for section, values in expected.items():
        assert {key: content[section][key] for key in values} == values


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mine.py:needs --data digits", "needs the argument width; give it"),
        ("mine.py:nothing --data digits", "returns nothing, expected a network"),
        ("mine.py:raises --data digits", "raises ValueError: no such thing (mine.py, line"),
        ("mine.py:Two --data digits", "Two returns 2 tensors (0, 1), expected one; wrap it"),
        ("mine.py:Map --data digits", "expected 2x10, a row of numbers for each"),
        ("mine.py:bild --data digits", "did you mean build?"),
        ("mine.py --data digits", "name the callable too, such as mine.py:build"),
        ("none.py:build --data digits", "none.py does not exist; build was to make"),
        ("r.yaml --data digits", "is a recipe, which names its network and data"),
        ("resnet181 --data digits", "did you mean resnet18"),
        ("mine.py:build --data ''", "the name of the data set is empty"),
        ("mine.py:build --data none", "'none' is neither a data set nor a folder or tar"),
        ("mine.py:build --data three", "has one class, a, with 3 images"),
        ("mine.py:build --data ones", "has one class, 'a'; two or more"),
        ("mine.py:build --data deep", "holds images only 3 folders deep"),
        ("mine.py:build --data digits --checkpoint none.pth", "--checkpoint none.pth does not"),
        ("mine.py:build --data digits --checkpoint whole.pth", "pickle that holds a Python object"),
        ("mine.py:build --data digits --checkpoint other.pth", "0 of its 122 tensors fit, of 30"),
        ("mine.py:build --data digits --checkpoint other.pth", "names are those of resnet18"),
        ("mine.py:build --data digits finetune.stps=2", "did you mean steps?"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(
    words: str, message: str, place: Path, call: Call, other: Path
) -> None:
    if "three" in words or "ones" in words or "deep" in words:
        for folder in ("three/a", "ones/train/a", "ones/val/a", "deep/a/b/c", "deep/b/b/c"):
            (place / folder).mkdir(parents=True)
            for i in range(3):
                pixels = np.full((16, 16), 80 * i, dtype=np.uint8)
                Image.fromarray(pixels).save(place / folder / f"{i}.png")
    if "whole" in words:
        torch.save(nn.Conv2d(1, 1, 1), "whole.pth")
    if "other" in words:
        (place / "other.pth").symlink_to(other)
    before = {path.name for path in place.iterdir()} | {"__pycache__"}
    for command in ("compress --speedup 2", "explore"):
        code, out, err = call(f"{command} --input-size 1,16,16 {words}")
        if command == "explore" and "yaml" in words:
            continue  # it takes recipes, too
        assert (code, out) == (2, ""), err
        said = [line for line in err.splitlines() if line.startswith("depthopt: ")]
        assert len(said) == 1
        assert message in said[0]
        assert "Traceback" not in err
        assert {path.name for path in place.iterdir()} <= before, "nothing is half-written"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of another network, as ``DataParallel`` has its names."""
    import torchvision

    path = tmp_path_factory.mktemp("other") / "other.pth"
    save(str(path), torchvision.models.resnet18(num_classes=4))
    return path
