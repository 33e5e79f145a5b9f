"""Accuracy and loss of a model on labelled images."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from depthopt.data.dataset import Batch
from depthopt.errors import DataError


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well a model does.

    Attributes:
        accuracy: share of images whose largest logit is the label's, points of 100.
        loss: mean cross-entropy, nats.
        images: number of images it was measured on.
    """

    accuracy: float
    loss: float
    images: int


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch]) -> Evaluation:
    """Measure ``model`` in eval mode, on the device that it is on; its mode is restored.

    Args:
        model: from ``(n, channels, height, width)`` to logits ``(n, classes)``.
        batches: such as ``split.batches(batch_size)``.

    Raises:
        DataError: there are no images.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    modes = {module: module.training for module in model.modules()}
    model.eval()
    correct = images = 0
    loss = 0.0
    try:
        for pixels, labels in batches:
            logits = model(pixels.to(device)).float()
            targets = labels.to(device)
            loss += F.cross_entropy(logits, targets, reduction="sum").item()
            correct += int((logits.argmax(1) == targets).sum())
            images += len(labels)
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not images:
        raise DataError("no images to evaluate on; give a split with at least one")
    return Evaluation(accuracy=100 * correct / images, loss=loss / images, images=images)
