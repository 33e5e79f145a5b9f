"""`depthopt compress --part`: a part is named, and the whole is judged."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import depthopt
from depthopt.cli.main import main
from depthopt.latency.measure import Effort, time_in_turn
from depthopt.models.importing import load_callable
from depthopt.models.names import Code
from depthopt.pipeline import measure

CODE = """
import torch
from torch import nn


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.out_channels = 6
        self.layers = nn.Sequential(*(
            part
            for i in range(4)
            for part in (nn.Conv2d(6 if i else 3, 6, 3, padding=1), nn.ReLU())
        ))

    def forward(self, x):
        return self.layers(x)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = Body(), nn.Linear(6, 4)

    def forward(self, images):
        rows = self.head(self.body(images).mean((2, 3)))
        return [row[row > row.mean()] for row in rows]  # not to be traced


def build():
    return Detector()


def found(network, batches):
    return sum(len(one) for images, _ in batches for one in network(images))
"""

KEYS = [
    "candidates.kernel_sizes=[1]",
    "candidates.max_length=2",
    "data.workers=0",
    "importance.images=32",
    "apply.images=32",
    "finetune.steps=2",
    "finetune.checkpoint_every_s=0",
    "pick=predicted",
    "latency.footprint_plans=1",
]


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("detector.py").write_text(CODE)
    torch.save(built().state_dict(), "mine.pth")
    generator = np.random.default_rng(0)
    Path("photos").mkdir()
    for i in range(60):
        coarse = generator.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(coarse).resize((16, 16)).save(f"photos/{i}.png")


def built() -> nn.Module:
    network: nn.Module = load_callable(Code("detector.py", "build"))()
    return network.eval()


def compress(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The command's exit status."""
    command = ["compress", "detector.py:build", "--data", "images:photos", "--part", "body"]
    words = (*command, "--speedup", "1.01", "--out", "out", *words, *KEYS)
    monkeypatch.setattr("sys.argv", ["depthopt", *words])
    effort = Effort(seconds=0.05, warmup_s=0.01)
    monkeypatch.setattr(measure, "time_in_turn", partial(time_in_turn, effort=effort))
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_a_part_is_made_faster_put_back_and_the_whole_judged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--checkpoint", "mine.pth", "--input-size", "16", "metric=detector.py:found")
    assert compress(monkeypatch, *given, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["part"] == "body"
    assert told["speedup"] > 0
    assert told["metric"] == "found"
    assert told["result"]["metric"]["name"] == "relative error"
    assert json.loads(Path("out/whole.json").read_text())["original"] == told["original"]

    # By hand it is the same: the images as they are, from 0 to 1.
    network = built()
    images = [f"photos/{name}" for name in sorted(p.name for p in Path("photos").iterdir())]
    numbers = torch.stack(
        [torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255 for path in images]
    )
    with torch.no_grad():
        counts = {path: len(one) for path, one in zip(images, network(numbers), strict=True)}
    data = depthopt.load_dataset("images:photos", input_size=(3, 16, 16), workers=0)
    tested = [image.name for image in data.test.images]
    assert told["original"] == sum(counts[path[path.index("photos/") :]] for path in tested)

    faster = depthopt.load("out/fused", model=network.body)
    network.set_submodule("body", faster)
    with torch.no_grad():
        by_hand = sum(
            len(network(numbers[images.index(p[p.index("photos/") :])][None])[0]) for p in tested
        )
    assert by_hand == told["compressed"]

    assert compress(monkeypatch, *given) == 0  # goes on, and tells the same in words
    said = capsys.readouterr()
    assert "the whole network around body" in said.out
    assert "found" in said.out
    assert "done before" in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no weights are named; name a checkpoint"),
        (("--checkpoint", "mine.pth"), "a part is recorded on images of one size; name it"),
        (
            ("--checkpoint", "mine.pth", "--input-size", "16", "--part", "bodi"),
            "Detector has no part 'bodi'; did you mean body",
        ),
        (
            ("--checkpoint", "mine.pth", "--input-size", "16", "metric=detector.py:fond"),
            "detector.py has no fond; did you mean found?",
        ),
    ],
)
def test_what_cannot_be_recorded_is_refused(
    words: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert compress(monkeypatch, *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert not Path("out").exists()
