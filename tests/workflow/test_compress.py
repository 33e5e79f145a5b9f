"""A network in memory and torch's data to a faster network, in one call."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import depthopt
from depthopt.core.artefacts import load_json
from depthopt.core.plan import Frontier, Plan
from depthopt.errors import DataError, ModelError, RecipeError, UsageError
from depthopt.extraction.extract import extract
from depthopt.latency.measure import Effort, time_in_turn
from depthopt.models.memory import memory_name
from depthopt.pipeline import measure
from depthopt.pipeline import run as pipeline
from depthopt.pipeline.folder import Manifest
from depthopt.pipeline.run import STAGE_NAMES
from depthopt.report.explorer import explorer
from depthopt.report.reading import read_run
from depthopt.workflow.compress import compress
from tests.networks import Residual
from tests.pipeline.small_run import Log, write_table

FAST = [
    "budget={cost: 1000}",
    "candidates={kernel_sizes: [1, 3], max_length: 6}",
    "importance.images=64",
    "apply.images=64",
    "finetune.steps=2",
]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    short = Effort(seconds=0.1, warmup_s=0.02)
    monkeypatch.setattr(measure, "time_in_turn", partial(time_in_turn, effort=short))


def images(count: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(count)
    labels = torch.arange(count) % 3
    pixels = torch.randn(count, 2, 12, 12, generator=generator) + labels.view(-1, 1, 1, 1)
    return TensorDataset(pixels, labels)


def called(folder: Path, model: nn.Module, **options: Any) -> tuple[depthopt.Compressed, Log]:
    log = Log()
    data, table = (images(96), images(30)), folder.with_suffix(".json")
    write_table(extract(model, (2, 12, 12), name=memory_name(model)), table)
    changes = [*FAST, f"latency.table={table}"]
    return compress(model, data, run_dir=folder, overrides=changes, reporter=log, **options), log


def as_the_report_says(
    folder: Path, given: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make the fastest plan by the report's own Python, and see that the run's folder stays."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shown, log = explorer(read_run(folder)), Log()
    assert shown is not None
    budget = shown.points[0].budget
    monkeypatch.setattr(pipeline, "run", partial(pipeline.run, until="solve", reporter=log))
    exec(budget.join(shown.another.parts), dict(given))  # noqa: S102 - as the page shows it
    assert log.done == ["solve"], "what was measured and estimated is taken over"
    new = folder.with_name(f"{folder.name}-{budget}ms")
    fastest = load_json(Frontier, folder / "frontier.json").plan(0)
    assert load_json(Plan, new / "plan.json") == fastest
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_network_in_memory_is_compressed_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Residual()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done, log = called(tmp_path, model)
    assert tuple(log.done) == STAGE_NAMES

    assert done.speedup == done.result.speedup > 0
    assert 0 <= done.accuracy <= 100
    assert 0 <= done.original_accuracy <= 100
    assert done.onnx.is_file()
    assert (tmp_path / "recipe.yaml").is_file()
    assert done.plan.replaced
    x: Tensor = images(5).tensors[0]
    assert done.network(x).shape == (5, 3)
    assert done.report().is_file()
    assert "\n" not in repr(done)
    assert "Residual" in repr(done)
    assert "<table>" in done._repr_html_()
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())

    with monkeypatch.context() as patch:
        given = {"model": model, "data": images(96), "test": images(30)}
        as_the_report_says(tmp_path, given, patch)

    again, log = called(tmp_path, model)
    assert log.skipped_stages == list(STAGE_NAMES)
    assert again.result == done.result

    with pytest.raises(UsageError, match="name another folder"):
        called(tmp_path, Residual(seed=1))
    stages = load_json(Manifest, tmp_path / "manifest.json").stages
    assert tuple(stages) == STAGE_NAMES, "what was there is as it was"


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="training images"):
        compress(Residual(), images(9), run_dir=tmp_path / "run", reporter=Log())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speedup": 0}, "speedup is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"overrides": "finetune.steps=2"}, "expected a list"),
        ({"input_size": 16}, "input_size is 16, the images given are 2x12x12"),
        ({"input_size": (16, 16)}, "expected a side in pixels"),
        ({"pretrained": True}, "load weights into a network in memory"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        compress(Residual(), images(96), run_dir=tmp_path / "run", reporter=Log(), **options)
    assert not (tmp_path / "run").exists()


def test_labels_with_a_gap_are_no_reason_for_a_wider_head(tmp_path: Path) -> None:
    pixels, labels = images(96).tensors
    with pytest.raises(DataError, match="no example has the label 0, and labels go to 3"):
        compress(Residual(), TensorDataset(pixels, labels + 1), run_dir=tmp_path / "run")


@pytest.mark.parametrize("change", ["half", "meta"])
def test_weights_that_cannot_be_trained_are_refused(change: str, tmp_path: Path) -> None:
    model = Residual().half() if change == "half" else Residual().to("meta")
    with pytest.raises(ModelError, match="float32" if change == "half" else "meta device"):
        compress(model, images(96), run_dir=tmp_path / "run", reporter=Log())


def test_a_method_is_a_change_of_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match="method: Input should be 'depthopt', 'layermerge', 'depth' or"
    ):
        compress(Residual(), (images(96), images(30)), run_dir=tmp_path / "out", method="merge")
    assert not (tmp_path / "out").exists()
