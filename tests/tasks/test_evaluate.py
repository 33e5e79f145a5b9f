"""Evaluation counts right answers and leaves the model as it was."""

import math

import pytest
import torch
from torch import nn

from depthopt.errors import DataError
from depthopt.tasks.evaluate import evaluate


class FirstPixel(nn.Module):
    """Logits that favour class 1 where the first pixel is positive."""

    def forward(self, images):
        first = images[:, 0, 0, 0]
        return torch.stack([-first, first], dim=1)


def test_accuracy_is_in_points_and_loss_in_nats():
    images = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0]).view(5, 1, 1, 1)
    labels = torch.tensor([1, 1, 0, 1, 1])
    result = evaluate(FirstPixel(), zip(images.split(2), labels.split(2), strict=True))
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert result.metric == 80
    assert result.loss == pytest.approx((4 * right + wrong) / 5)
    assert result.images == 5


def test_modes_are_restored_and_statistics_untouched():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.BatchNorm2d(1), nn.Flatten())
    model.train()
    model[0].eval()
    evaluate(model, [(torch.randn(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))])
    assert [module.training for module in (model, model[0], model[1])] == [True, False, True]
    assert torch.equal(model[1].running_mean, torch.zeros(1))


def test_no_images_are_an_error():
    with pytest.raises(DataError, match="no images"):
        evaluate(FirstPixel(), [])
