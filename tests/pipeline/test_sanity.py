"""Networks that know nothing, trainings that do harm and speed-ups that are noise are told of."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from depthopt.cli.main import main
from depthopt.core.artefacts import load_json
from depthopt.core.metric import Metric
from depthopt.core.training import Standing, TrainResult
from depthopt.data.tensors import TensorSplit
from depthopt.pipeline import work
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.result import Result
from depthopt.pipeline.run import run
from depthopt.pipeline.sanity import (
    GLANCE,
    Judged,
    glance,
    is_worse,
    judged,
    undone,
    warnings_of,
    within_noise,
)
from depthopt.tables.latency import LatencySummary
from depthopt.tasks.evaluate import Evaluation
from depthopt.tasks.registry import task_of
from tests.pipeline.small_run import Log

TASK = task_of("classification")
ACCURACY = TASK.metric
ERROR = Metric("error", higher_is_better=False)


def labelled(labels: list[int]) -> TensorSplit:
    return TensorSplit(torch.zeros(len(labels), 1), torch.tensor(labels))


@pytest.mark.parametrize(
    ("accuracy", "labels", "near"),
    [
        (14.0, [i % 10 for i in range(449)], True),
        (19.0, [i % 10 for i in range(449)], False),
        (52.0, [0, 1] * 100, True),
        (60.0, [0, 1] * 100, False),
        (90.5, [0] * 900 + [1] * 100, True),
        (94.0, [0] * 900 + [1] * 100, False),
        (2.0, [i % 1000 for i in range(5000)], True),
        (70.0, [i % 1000 for i in range(5000)], False),
    ],
)
def test_a_network_is_held_against_the_commonest_answer(
    accuracy: float, labels: list[int], near: bool
) -> None:
    found = judged(TASK, Evaluation(accuracy, 1.0, len(labels)), labelled(labels), {})
    assert found.near_chance == near
    said = found.warning(ACCURACY, "test images")
    assert (said is not None) == near
    if said is not None:
        assert said.startswith(f"the original is not better than chance: {accuracy:.2f} % on ")
    assert found.text(ACCURACY).endswith(", near chance") == near


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"best_acc1": 72.1, "epoch": 90.0}, "checkpoint says best_acc1 72.1; check"),
        ({"acc": 0.721}, "checkpoint says acc 0.721; check"),
        ({"metric": 48.0}, None),
        ({"epoch": 90.0}, None),
        ({"best_acc1": 12.0}, None),
    ],
)
def test_a_network_is_held_against_what_its_checkpoint_says(
    figures: dict[str, float], said: str | None
) -> None:
    labels = [i % 10 for i in range(500)]
    found = judged(TASK, Evaluation(40.0, 1.0, 500), labelled(labels), figures)
    warning = found.warning(ACCURACY, "held-out images")
    if said is None:
        assert warning is None
    else:
        assert warning is not None
        assert said in warning
        assert warning.startswith("the original reaches 40.00 % on 500 held-out images, its ")


def test_where_chance_is_unknown_nothing_is_said() -> None:
    found = Judged(3.0, None, near_chance=False, images=9)
    assert found.warning(ERROR, "images") is None
    assert found.text(ERROR) == "3"


def test_a_glance_sees_some_images_of_every_class() -> None:
    class Knows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen += len(x)
            return nn.functional.one_hot(x[:, 0].long(), 4).float()

    labels = torch.arange(4).repeat_interleave(300)
    network = Knows()
    found = glance(TASK, network, TensorSplit(labels.float().unsqueeze(1), labels), {})
    assert (found.metric, found.chance, found.images) == (100.0, 25.0, GLANCE)
    assert network.seen == GLANCE


@pytest.mark.parametrize(
    ("metric", "before", "after", "worse"),
    [
        (ACCURACY, (90.0, 0.3), (80.0, 0.5), True),
        (ACCURACY, (90.0, 0.3), (89.8, 0.31), False),
        (ACCURACY, (100.0, 0.3), (99.5, 0.31), False),
        (ERROR, (1.0, 1.0), (2.0, 0.9), False),
        (ACCURACY, (90.0, 0.3), (70.0, 0.25), True),
        (ACCURACY, (90.0, 0.3), (90.0, 0.5), False),
        (ACCURACY, (90.0, 0.3), (91.0, 0.5), False),
        (ACCURACY, (90.0, 0.3), (80.0, float("nan")), True),
        (ERROR, (1.0, 1.0), (2.0, 2.0), True),
        (ERROR, (2.0, 2.0), (1.0, 1.0), False),
    ],
)
def test_a_training_does_harm_where_the_metric_falls_beyond_its_noise(
    metric: Metric, before: tuple[float, float], after: tuple[float, float], worse: bool
) -> None:
    assert is_worse(metric, Standing(*before), Standing(*after), 200) == worse


FAST, SLOW = LatencySummary(1.0, 0.9, 1.1, 9), LatencySummary(2.0, 1.8, 2.2, 9)


def test_a_speedup_must_be_more_than_the_noise() -> None:
    assert within_noise(SLOW, FAST) is None
    said = within_noise(LatencySummary(1.1, 0.95, 1.3, 9), FAST)
    assert said is not None
    assert said.startswith("the speed-up of 1.10x is within the noise")
    assert within_noise(FAST, SLOW) == (
        "the compressed network is not faster than the original: 0.50x"
    )


def test_all_of_it_is_kept_with_the_result() -> None:
    harmed = TrainResult((), 5, ACCURACY, Standing(60.0, 1.0), Standing(50.0, 2.0), undone=True)
    poor = Judged(11.0, 10.0, near_chance=True, images=400)
    first, second, third = warnings_of(poor, ACCURACY, harmed, FAST, FAST)
    assert "not better than chance: 11.00 % on 400 test images" in first
    assert second.startswith(
        "finetuning made the network worse on held-out images, 60.00 % to 50.00 %; the network "
        "before it is kept"
    )
    assert "not faster" in third
    good = Judged(99.0, 10.0, near_chance=False, images=400)
    assert not [*warnings_of(good, ACCURACY, None, SLOW, FAST)]
    assert undone(TrainResult((), 5, ACCURACY)) is None


def test_a_run_keeps_the_better_network_and_says_so(
    finished: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, folder = finished

    @torch.no_grad()
    def harmful(network: nn.Module, *_: object, **__: object) -> TrainResult:
        for parameter in network.parameters():
            parameter.zero_()
        return TrainResult((), 1, ACCURACY)

    monkeypatch.setattr(work, "finetune", harmful)
    lines: dict[str, str] = {}

    class Lines(Log):
        def finished(self, stage: str, seconds: float, summary: str) -> None:
            super().finished(stage, seconds, summary)
            lines[stage] = summary

    run(load_recipe(recipe, ["finetune.epochs=1"]), folder, reporter=Lines())
    before, after = (
        safetensors.torch.load_file(folder / name / "model.safetensors")
        for name in ("applied", "finetuned")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert lines["finetune"].endswith("before it; worse than before, which is kept")
    result = load_json(Result, folder / "result.json")
    assert result.compressed.metric == pytest.approx(result.untrained_metric)
    told = "finetuning made the network worse on held-out images, "
    assert sum(each.startswith(told) for each in result.warnings) == 1
    assert told in caplog.text
    monkeypatch.setattr("sys.argv", ["depthopt", "report", str(folder)])
    with pytest.raises(SystemExit):
        main()
    assert "finetuning made the network worse" in " ".join(capsys.readouterr().out.split())
    page = (folder / "report" / "report.html").read_text()
    assert "finetuning made the network worse" in page
    assert "normalised by mean 0.305 and std 0.376" in page
