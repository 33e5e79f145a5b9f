"""Classification: the loss of a training, by its formula."""

import torch
from torch.nn import functional as F

from depthopt.tasks.classification import training_loss
from depthopt.train.config import TrainConfig


def test_the_loss_weighs_label_against_teacher():
    logits, answer = torch.randn(2, 4, 3).unbind()
    labels = torch.tensor([0, 1, 2, 0])
    config = TrainConfig(distillation=0.25, temperature=3.0, label_smoothing=0.1)
    hard = F.cross_entropy(logits, labels, label_smoothing=0.1)
    p, q = (answer / 3).softmax(1), (logits / 3).softmax(1)
    soft = 9 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(training_loss(logits, labels, None, config), hard)
    torch.testing.assert_close(
        training_loss(logits, labels, answer, config), 0.75 * hard + 0.25 * soft
    )
