"""Runs of the task that imitates: no labels, whatever the network gives."""

from collections.abc import ItemsView
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from depthopt.core.artefacts import load_json
from depthopt.errors import DataError, UsageError
from depthopt.export.saved import load_saved
from depthopt.extraction.extract import extract
from depthopt.graph.outputs import leaves
from depthopt.models.memory import memory_name
from depthopt.models.registry import create_model, model_arguments
from depthopt.pipeline.dry_run import dry_run
from depthopt.pipeline.recipe import Recipe, load_recipe
from depthopt.pipeline.run import result, run
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.importance import ImportanceTable
from depthopt.tasks.evaluate import evaluate
from tests.networks import randomised
from tests.pipeline.small_run import NAME, Log, write_table

SIZE = (1, 16, 16)

RECIPE = """
task: matching
model: {{name: {name}, input_size: [1, 16, 16]}}
data: {{source: "images:photos", workers: 0, mean: [0.5], std: [0.25]}}
candidates: {{kernel_sizes: [1, 3], max_length: 6}}
latency: {{table: table.json}}
budget: {{speedup: 1.3}}
pick: predicted
importance: {{images: 64}}
apply: {{images: 64}}
finetune: {{steps: 60, batch_size: 32, learning_rate: 1.0e-3, checkpoint_every_s: 0}}
"""


class Denoiser(nn.Module):
    """Takes an image, and gives one of the same size: residual blocks without norms."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.first, self.last = (nn.Conv2d(a, b, 3, 1, 1) for a, b in ((1, width), (width, 1)))
        self.inner = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(4))
        randomised(self, 0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        for a, b in zip(self.inner[::2], self.inner[1::2], strict=True):
            y = y + b(a(y).relu())
        return x + self.last(y)


def embedding() -> nn.Module:
    """Takes an image, and gives a row of numbers, which no linear layer gave."""
    layers: list[nn.Module] = []
    for before, after, stride in ((1, 6, 1), (6, 6, 1), (6, 8, 2), (8, 8, 1), (8, 8, 1)):
        conv = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU()]
    return _settle(randomised(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())))


def _settle(network: nn.Module) -> nn.Module:
    """As in a trained network, the norms know their inputs."""
    images = torch.randn(256, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for _ in range(40):
            network.train()(nn.functional.interpolate(images, 16, mode="bicubic"))
    return network.eval()


class Pyramid(nn.Module):
    """Takes an image, and gives features of two sizes and a row of numbers, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = (self._conv(a, b, s) for a, b, s in ((1, 6, 1), (6, 8, 2)))
        self.large, self.small = (
            nn.Sequential(*(self._conv(c, c, 1) for _ in range(3))) for c in (6, 8)
        )
        self.head = nn.Linear(8, 5)
        _settle(randomised(self))

    @staticmethod
    def _conv(before: int, after: int, stride: int) -> nn.Module:
        conv = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())

    def forward(self, x: Tensor) -> dict[str, object]:
        large = self.large(self.stem(x))
        small = self.small(self.down(large))
        return {"features": [large, small], "row": self.head(small.mean((2, 3)))}


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)  # of the networks' weights
    generator = np.random.default_rng(0)
    Path("photos/of a trip").mkdir(parents=True)
    for i in range(160):
        coarse = generator.integers(0, 256, (5, 5), np.uint8)
        picture = Image.fromarray(coarse, "L").resize((20, 20), Image.Resampling.BICUBIC)
        picture.save(f"photos/of a trip/{i}.png")


def recipe(network: nn.Module | None, *overrides: str, name: str = "memory") -> Recipe:
    if network is not None:
        write_table(extract(network, SIZE, name=memory_name(network)), Path("table.json"))
    Path("r.yaml").write_text(RECIPE.format(name=name))
    return load_recipe(Path("r.yaml"), overrides)


@pytest.mark.parametrize("make", [Denoiser, Pyramid])
def test_a_network_is_compressed_without_a_label(make: type[nn.Module], tmp_path: Path) -> None:
    network, out, log = make().eval(), tmp_path / "out", Log()
    made = run(recipe(network), out, reporter=log, model=network)
    found = result(out)
    assert found.metric.name == "relative error"
    assert found.original.metric == 0
    assert 0 < found.compressed.metric < found.untrained_metric
    assert found.compressed.parameters < found.original.parameters
    assert not found.warnings or "chance" not in " ".join(found.warnings)
    assert load_saved(out / "fused").class_names == ()
    assert load_saved(out / "fused").task == "matching"

    table = load_json(ImportanceTable, out / "importance.json")
    assert all(entry.cost == entry.divergence >= 0 for entry in table.entries.values())
    # What is reported is what the networks give, held against each other.
    images, calibration = (
        torch.cat([inputs for inputs, _ in split.batches(64)])
        for split in (made.data.test, made.data.calibration)
    )
    fused = made.network("fused")
    with torch.no_grad():
        wanted, got = leaves(network, network(images)), leaves(fused, fused(images))
        spread = {k: v.var(0, correction=0).mean() for k, v in _leaves_of(network, calibration)}
    assert list(wanted) == list(got) == list(spread)
    errors = [(wanted[k] - got[k]).square().mean() / spread[k] for k in wanted]
    assert found.compressed.metric == pytest.approx(float(sum(errors)) / len(errors), rel=1e-3)
    (cosine,) = found.further
    rows = (torch.cat([v.flatten(1) for v in values.values()], 1) for values in (wanted, got))
    between = nn.functional.cosine_similarity(*rows).mean()
    assert (cosine.name, cosine.original) == ("cosine", pytest.approx(1))
    assert cosine.compressed == pytest.approx(float(between), rel=1e-5)

    # So does the file, whose outputs have the same names.
    session = get_runtime("onnxruntime").compile(out / "fused.onnx")
    outputs = session.run({"image": images[:1].numpy()})
    for one, other in zip(got.values(), outputs, strict=True):
        assert torch.allclose(one[:1], torch.from_numpy(np.array(other)), atol=1e-4, rtol=1e-4)
    names = [output.name for output in onnx.load(out / "fused.onnx").graph.output]
    assert names == [f"output_{k}" if k else "output" for k in wanted]


def _leaves_of(network: nn.Module, images: Tensor) -> ItemsView[str, Tensor]:
    return leaves(network, network(images)).items()


def test_an_embedding_is_judged_by_its_neighbours(tmp_path: Path) -> None:
    network, out = embedding().eval(), tmp_path / "out"
    made = run(recipe(network, "task=embedding"), out, until="estimate", model=network)
    found = evaluate(network, made.held_out(), task=made.judge)
    assert (found.metric, found.loss) == (100, 0)
    table = load_json(ImportanceTable, out / "importance.json")
    assert table.unit == "points"
    assert all(-100 <= entry.metric_change <= 0 for entry in table.entries.values())
    maps = Denoiser()
    with pytest.raises(DataError, match="task embedding compares rows of numbers"):
        run(recipe(maps, "task=embedding"), tmp_path / "maps", until="teacher", model=maps)


def test_short_trainings_have_the_original_for_a_teacher(tmp_path: Path) -> None:
    network, out = embedding().eval(), tmp_path / "out"
    short = ("importance.estimator=finetune", "importance.train.steps=2", "candidates.max_length=1")
    run(recipe(network, *short), out, until="estimate", model=network)
    table = load_json(ImportanceTable, out / "importance.json")
    assert table.entries
    assert all(entry.metric_change is not None for entry in table.entries.values())


@pytest.mark.parametrize("outputs", [None, 4])
def test_an_original_that_would_be_trained_is_refused(outputs: int | None, tmp_path: Path) -> None:
    overrides = ["latency.table=null"]
    if outputs is not None:  # a new last layer would have to be trained
        other = create_model(NAME, model_arguments(NAME, SIZE, outputs))
        torch.save(other.state_dict(), "w.pth")
        overrides.append("model.checkpoint=w.pth")
    given = recipe(None, *overrides, name=NAME)
    refused = "task matching imitates the original, which would have to be trained first"
    with pytest.raises(UsageError, match=refused):
        run(given, tmp_path / "out")
    assert not (tmp_path / "out" / "teacher.safetensors").exists()
    assert any(refused in problem for problem in dry_run(given, tmp_path / "other").problems)


def test_labels_that_the_data_has_are_not_read(tmp_path: Path) -> None:
    network, out = embedding().eval(), tmp_path / "out"
    made = run(recipe(network, "data.source=digits"), out, until="extract", model=network)
    assert made.data.class_names
    assert made.examples.class_names == ()
    inputs, answers = next(made.examples.calibration.batches(8))
    with torch.no_grad():
        assert torch.equal(answers, network(inputs))
