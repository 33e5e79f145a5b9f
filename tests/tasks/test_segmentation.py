"""The task of a class for each pixel: its metric, its losses, what it refuses."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from depthopt.data.dataset import Dataset
from depthopt.data.tensors import TensorSplit
from depthopt.errors import DataError
from depthopt.tasks.evaluate import evaluate
from depthopt.tasks.segmentation import TASK
from depthopt.train.config import TrainConfig

CLASSES = 5


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    masks = torch.randint(CLASSES - 1, (6, 8, 10))  # the last class is in no mask
    masks[:, :2] = 255
    return torch.randn(6, CLASSES, 8, 10), masks


def plain_miou(found: np.ndarray, wanted: np.ndarray) -> float:
    """By sets of pixels, class by class."""
    shares = []
    for number in range(CLASSES):
        own = {tuple(i) for i in np.argwhere((found == number) & (wanted != 255))}
        true = {tuple(i) for i in np.argwhere(wanted == number)}
        if own | true:
            shares.append(len(own & true) / len(own | true))
    return 100 * sum(shares) / len(shares)


class Given(nn.Module):
    """Gives what is in its inputs."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits


def test_the_metric_is_the_mean_iou_over_all_images_together(batch: tuple[Tensor, Tensor]) -> None:
    logits, masks = batch
    parts = [(logits[:4], masks[:4]), (logits[4:], masks[4:])]
    found = evaluate(Given(), parts, task=TASK)
    wanted = plain_miou(logits.argmax(1).numpy(), masks.numpy())
    assert found.metric == pytest.approx(wanted, rel=1e-12)
    together = evaluate(Given(), [(logits, masks)], task=TASK)
    assert found.metric == together.metric
    assert found.loss == pytest.approx(together.loss, rel=1e-6)


def test_a_perfect_answer_has_100_whatever_the_ignored_pixels_say(
    batch: tuple[Tensor, Tensor],
) -> None:
    _, masks = batch
    logits = F.one_hot(masks.clamp_max(CLASSES - 1), CLASSES).permute(0, 3, 1, 2).float()
    assert evaluate(Given(), [(logits, masks)], task=TASK).metric == 100


def test_ignored_pixels_count_for_nothing_in_the_loss(batch: tuple[Tensor, Tensor]) -> None:
    logits, masks = batch
    changed = logits.clone()
    changed[:, :, :2] += 5 * torch.randn(6, CLASSES, 2, 10)
    assert TASK.loss(changed, masks) == TASK.loss(logits, masks)
    plain = F.cross_entropy(logits[:, :, 2:], masks[:, 2:], reduction="mean")
    torch.testing.assert_close(TASK.loss(logits, masks), 6 * plain)


def test_smaller_outputs_are_resized_to_the_masks(batch: tuple[Tensor, Tensor]) -> None:
    logits, masks = batch
    small = F.avg_pool2d(logits, 2)
    large = F.interpolate(small, (8, 10), mode="bilinear", align_corners=False)
    assert TASK.loss(small, masks) == TASK.loss(large, masks)
    assert torch.equal(TASK.measure(small, masks), TASK.measure(large, masks))


def test_an_answer_does_not_diverge_from_itself_and_others_do(
    batch: tuple[Tensor, Tensor],
) -> None:
    logits, _ = batch
    assert TASK.divergence(logits, logits) == 0
    assert TASK.divergence(logits + 7, logits).abs() < 1e-4
    assert TASK.divergence(torch.zeros_like(logits), logits) > 0.1


def test_a_training_step_weighs_masks_and_the_teacher(batch: tuple[Tensor, Tensor]) -> None:
    logits, masks = batch
    plain = TrainConfig(label_smoothing=0.0, distillation=0.25, temperature=1.0)
    teacher = torch.randn_like(logits)
    hard = TASK.loss(logits, masks) / 6
    soft = TASK.divergence(logits, teacher) / 6
    torch.testing.assert_close(TASK.step_loss(logits, masks, None, plain), hard)
    torch.testing.assert_close(TASK.step_loss(logits, None, teacher, plain), soft)
    both = TASK.step_loss(logits, masks, teacher, plain)
    torch.testing.assert_close(both, 0.75 * hard + 0.25 * soft)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.zeros(2), "expected the number of a class for each pixel"),
        (torch.zeros(2, 4, 4), r"torch.float32 of shape \(2, 4, 4\)"),
        (torch.full((2, 4, 4), 7), "masks hold numbers from 7 to 7, and the network gives 5"),
        (torch.full((2, 4, 4), -1), "pixels that count for nothing are 255"),
    ],
)
def test_targets_that_are_no_masks_are_refused(masks: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TASK.check_targets(torch.zeros(2, CLASSES, 4, 4), masks)
    with pytest.raises(DataError, match=r"outputs of shape \(2, 5\), expected"):
        TASK.check_targets(torch.zeros(2, 5), torch.zeros(2, 4, 4, dtype=torch.int64))


def test_a_network_of_other_classes_is_unfit() -> None:
    split = TensorSplit(torch.zeros(4, 3, 4, 4), torch.zeros(4, 4, 4, dtype=torch.int64))
    data = Dataset("city", ("a", "b"), (3, 4, 4), split, split, split)
    assert TASK.why_unfit(torch.zeros(1, 2, 4, 4), data) is None
    unfit = TASK.why_unfit(torch.zeros(1, 21, 4, 4), data)
    assert unfit is not None
    assert unfit[0] == "gives numbers 21x4x4 for an image, city has 2 classes"
