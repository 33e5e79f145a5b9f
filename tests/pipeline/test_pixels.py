"""Whole runs of networks that answer for each pixel: masks, and images without noise."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from depthopt.errors import DepthoptError, ModelError
from depthopt.export.saved import load_saved
from depthopt.extraction.extract import extract
from depthopt.pipeline.dry_run import dry_run
from depthopt.pipeline.recipe import Recipe, load_recipe
from depthopt.pipeline.run import result, run
from depthopt.tasks.evaluate import evaluate
from tests.pipeline.small_run import Log, write_table

SIZE = (3, 16, 16)

RECIPE = """
task: {task}
model: {{name: "net.py:net", input_size: [3, 16, 16]}}
data: {{source: "{source}", workers: 0}}
teacher: {{steps: 60, batch_size: 16, learning_rate: 1.0e-2, checkpoint_every_s: 0}}
candidates: {{kernel_sizes: [1, 3], max_length: 4}}
latency: {{table: table.json}}
budget: {{speedup: 1.2}}
pick: predicted
importance: {{images: 64}}
apply: {{images: 64}}
finetune: {{steps: 20, batch_size: 16, learning_rate: 1.0e-3, checkpoint_every_s: 0}}
"""

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, outputs, width=6):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.inner = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(6))
        self.last = nn.Conv2d(width, outputs, 1)

    def forward(self, x):
        x = self.first(x)
        for a, b in zip(self.inner[::2], self.inner[1::2]):
            x = x + b(a(x).relu())
        return self.last(x)


def net(num_classes=3):
    return Net(num_classes)
"""


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of a bright and a green square each, masks of them, and noisy pictures."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    Path("net.py").write_text(NET)
    for i in range(160):
        picture = np.full((16, 16, 3), 60.0)
        mask = np.zeros((16, 16), np.uint8)
        for number, colour in ((1, (220, 220, 220)), (2, (30, 200, 30))):
            top, left = generator.integers(0, 10, 2)
            picture[top : top + 6, left : left + 6] = colour
            mask[top : top + 6, left : left + 6] = number
        mask[0] = 255
        noisy = picture + generator.normal(0, 30, picture.shape)
        for folder, array in (
            ("city/images", picture),
            ("city/masks", mask),
            ("noisy/images", noisy),
            ("noisy/targets", picture),
        ):
            Path(folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(array, 0, 255).astype(np.uint8)).save(f"{folder}/{i}.png")


def recipe(task: str, source: str, overrides: Sequence[str] = ()) -> Recipe:
    scope: dict[str, type[nn.Module]] = {}
    exec(NET, scope)  # noqa: S102 - what the recipe's file says
    write_table(extract(scope["Net"](3).eval(), SIZE, name="net.py:net"), Path("table.json"))
    Path("r.yaml").write_text(RECIPE.format(task=task, source=source))
    return load_recipe(Path("r.yaml"), overrides)


@pytest.mark.parametrize(
    ("task", "source", "floor"),
    [("segmentation", "masks:city", 80.0), ("restoration", "pairs:noisy", 15.0)],
)
def test_a_network_is_trained_compressed_and_judged(
    task: str, source: str, floor: float, tmp_path: Path
) -> None:
    out, log = tmp_path / "out", Log()
    made = run(recipe(task, source), out, reporter=log, allow_code=True)
    found = result(out)
    assert found.metric == made.task.metric
    assert found.original.metric > floor
    assert found.compressed.metric > 0.9 * found.original.metric
    assert found.compressed.parameters < found.original.parameters
    fused = made.network("fused")
    assert (
        found.compressed.metric
        == evaluate(fused, made.data.test.batches(64), task=made.task).metric
    )
    assert load_saved(out / "fused").task == task
    assert made.importance.unit == ("points" if task == "segmentation" else "")
    assert all(entry.loss_increase is not None for entry in made.importance.entries.values())


def test_a_dry_run_tells_of_maps_and_of_masks_that_do_not_fit() -> None:
    known = dry_run(recipe("segmentation", "masks:city"), Path("out"), allow_code=True)
    assert known.problems == ()
    assert known.outputs == 3
    unfit = recipe("segmentation", "pairs:noisy")
    with pytest.raises(DepthoptError):
        run(unfit, Path("unfit"), until="teacher", allow_code=True)
    no_targets = recipe("segmentation", "images:city/images")
    problems = dry_run(no_targets, Path("none"), allow_code=True).problems
    assert any("has no targets in its calibration split" in problem for problem in problems)


def test_a_network_that_gives_rows_is_refused_for_masks(tmp_path: Path) -> None:
    Path("net.py").write_text(
        "from torch import nn\n\ndef net(num_classes):\n    return nn.Sequential("
        "nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))\n"
    )
    with pytest.raises(ModelError, match="expected 2x3xROWSxCOLUMNS, a map for each class"):
        run(recipe("segmentation", "masks:city"), tmp_path / "o", until="teacher", allow_code=True)
