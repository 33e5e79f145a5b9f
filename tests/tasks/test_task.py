"""What a task has by default, and who is refused."""

from types import SimpleNamespace

import pytest
import torch

from depthopt.core.metric import Metric
from depthopt.errors import DataError, UsageError
from depthopt.tasks.evaluate import evaluate
from depthopt.tasks.registry import task_of
from depthopt.tasks.task import Task


def squares(outputs, wanted):
    return (outputs - wanted).square().sum()


TASK = Task(
    name="squares",
    metric=Metric("error", higher_is_better=False),
    divergence=squares,
    loss=squares,
    measure=squares,
)
SETTINGS = SimpleNamespace(distillation=0.25)
OUTPUTS, TARGETS, TEACHER = torch.randn(3, 4, 2, dtype=torch.float64)


def test_a_training_weighs_targets_against_the_teacher_per_example():
    def loss(targets, teacher):
        return TASK.step_loss(OUTPUTS, targets, teacher, SETTINGS)

    hard, soft = squares(OUTPUTS, TARGETS) / 4, squares(OUTPUTS, TEACHER) / 4
    torch.testing.assert_close(loss(TARGETS, None), hard)
    torch.testing.assert_close(loss(None, TEACHER), soft)
    torch.testing.assert_close(loss(TARGETS, TEACHER), 0.75 * hard + 0.25 * soft)


def test_a_metric_is_a_mean_over_examples():
    batches = [(OUTPUTS[:3], TARGETS[:3]), (OUTPUTS[3:], TARGETS[3:])]
    found = evaluate(torch.nn.Identity(), batches, task=TASK)
    wanted = float(squares(OUTPUTS, TARGETS)) / 4
    assert found.images == 4
    assert found.metric == found.loss == pytest.approx(wanted, rel=1e-6)


def test_examples_without_targets_cannot_be_evaluated():
    with pytest.raises(DataError, match="examples have no targets"):
        evaluate(torch.nn.Identity(), [(OUTPUTS, None)], task=TASK)


def test_an_unknown_task_is_named_with_the_known_ones():
    assert task_of(TASK) is TASK
    assert task_of("classification").metric.name == "accuracy"
    with pytest.raises(UsageError, match="task 'guessing' is unknown; known: classification"):
        task_of("guessing")
