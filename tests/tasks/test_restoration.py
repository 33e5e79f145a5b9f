"""The task of an image of an image: its metric, its losses, what it refuses."""

import math

import pytest
import torch
from torch import Tensor

from depthopt.errors import DataError
from depthopt.tasks.restoration import TASK
from depthopt.train.config import TrainConfig


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    wanted = torch.rand(3, 3, 5, 7)
    return wanted + 0.1 * torch.randn_like(wanted), wanted


def test_the_metric_is_the_mean_of_the_images_psnr(images: tuple[Tensor, Tensor]) -> None:
    found, wanted = images
    each = []
    for one, other in zip(found.clamp(0, 1), wanted, strict=True):
        error = sum((a - b) ** 2 for a, b in zip(one.flatten(), other.flatten(), strict=True))
        each.append(10 * math.log10(1 / (float(error) / one.numel())))
    figure = TASK.figure(TASK.measure(found, wanted), 3)
    assert figure == pytest.approx(sum(each) / 3, rel=1e-5)
    assert TASK.metric.text(figure).endswith("dB")
    assert TASK.figure(TASK.measure(wanted, wanted), 3) == 100


def test_losses_are_none_for_equal_images_and_training_weighs_the_teacher(
    images: tuple[Tensor, Tensor],
) -> None:
    found, wanted = images
    assert TASK.loss(wanted, wanted) == TASK.divergence(wanted, wanted) == 0
    settings, teacher = TrainConfig(distillation=0.25), torch.rand_like(wanted)
    own, others = (found - wanted).abs().mean(), (found - teacher).abs().mean()
    torch.testing.assert_close(TASK.step_loss(found, wanted, None, settings), own)
    torch.testing.assert_close(TASK.step_loss(found, None, teacher, settings), others)
    both = TASK.step_loss(found, wanted, teacher, settings)
    torch.testing.assert_close(both, 0.75 * own + 0.25 * others)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(2, 3, 4, 5), r"expected images of the shape of the outputs, \(2, 3, 4, 4\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.int64), "targets are torch.int64"),
        (2 * torch.ones(2, 3, 4, 4), r"targets lie in 2..2, expected pixels in 0..1"),
    ],
)
def test_targets_that_are_no_such_images_are_refused(targets: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TASK.check_targets(torch.zeros(2, 3, 4, 4), targets)
