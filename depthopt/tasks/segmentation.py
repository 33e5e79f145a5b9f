"""The task ``segmentation``: a class for each pixel, whose logit is the largest.

Outputs are logits (N, classes, height, width), targets numbers of classes (N, height, width).
Pixels of the number 255 count for nothing. Where outputs are smaller or larger than the targets,
they are resized to them, bilinearly, as torchvision's networks do. The metric is the mean over the
classes of the intersection over the union, each over the pixels of all images together
(Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2015, section 3.2).
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from depthopt.core.metric import Metric
from depthopt.data.dataset import Dataset
from depthopt.data.pairs import IGNORED
from depthopt.errors import DataError
from depthopt.tasks.task import Settings, Task, weighed


def _fitted(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.shape[2:] == targets.shape[1:]:
        return logits
    return F.interpolate(logits, targets.shape[1:], mode="bilinear", align_corners=False)


def _per_image(of_pixels: Tensor, counted: Tensor | None = None) -> Tensor:
    """Means over an image's pixels that count, summed over the images (N, height, width)."""
    if counted is None:
        return of_pixels.flatten(1).mean(1).sum()
    pixels = counted.flatten(1).sum(1).clamp_min(1)
    return (of_pixels.flatten(1).sum(1) / pixels).sum()


def _divergence(logits: Tensor, original: Tensor) -> Tensor:
    """KL(original || logits), in nats for a pixel."""
    log_p, log_t = logits.log_softmax(1), original.log_softmax(1)
    return _per_image((log_t.exp() * (log_t - log_p)).sum(1))


def _loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy, in nats for a pixel."""
    of_pixels = F.cross_entropy(
        _fitted(logits, targets),
        targets,
        reduction="none",
        ignore_index=IGNORED,
        label_smoothing=smoothing,
    )
    return _per_image(of_pixels, targets != IGNORED)


def training_loss(
    logits: Tensor, targets: Tensor | None, teacher: Tensor | None, settings: Settings
) -> Tensor:
    """That of classification, for each pixel, a mean over the examples.

    Args:
        logits: (N, classes, height, width).
        targets: (N, height, width), or None.
        teacher: as ``logits``, or None.
        settings: of the training.
    """
    hard, soft, divisor = None, None, settings.temperature
    if targets is not None:
        hard = _loss(logits, targets, settings.label_smoothing) / len(logits)
    if teacher is not None:
        soft = divisor**2 * _divergence(logits / divisor, teacher / divisor) / len(logits)
    return weighed(hard, soft, settings)


def _areas(logits: Tensor, targets: Tensor) -> Tensor:
    """Pixels of each class's intersection and of its union, (2, classes)."""
    classes, counted = logits.shape[1], targets != IGNORED
    found, wanted = _fitted(logits, targets).argmax(1)[counted], targets[counted]
    right, of_found, of_wanted = (
        torch.bincount(numbers, minlength=classes)
        for numbers in (wanted[found == wanted], found, wanted)
    )
    return torch.stack([right, of_found + of_wanted - right])


def _mean(areas: Tensor) -> float:
    """Over the classes that an image or an answer has; 1 where there is none."""
    right, union = areas[:, areas[1] > 0]
    return float((right / union).mean()) if len(union) else 1.0


def _why_unfit(logits: Tensor, data: Dataset) -> tuple[str, str] | None:
    classes = len(data.class_names)
    if logits.dim() == 4 and logits.shape[1] == classes:
        return None
    shape = "x".join(map(str, logits.shape[1:]))
    return (
        f"gives numbers {shape} for an image, {data.name} has {classes} classes",
        f"let it give {classes} maps, and one tensor: of torchvision's, aux_loss: false",
    )


def _check(logits: Tensor, targets: Tensor) -> None:
    if targets.dim() != 3 or targets.is_floating_point():
        raise DataError(
            f"targets are {targets.dtype} of shape {tuple(targets.shape)}, expected the number of "
            "a class for each pixel, (images, height, width)"
        )
    if logits.dim() != 4:
        raise DataError(
            f"the network gives outputs of shape {tuple(logits.shape)}, expected (images, classes, "
            "height, width)"
        )
    numbers = targets[targets != IGNORED]
    if len(numbers) and (int(numbers.min()) < 0 or int(numbers.max()) >= logits.shape[1]):
        raise DataError(
            f"masks hold numbers from {int(numbers.min())} to {int(numbers.max())}, and the "
            f"network gives {logits.shape[1]} classes; pixels that count for nothing are {IGNORED}"
        )


TASK = Task(
    name="segmentation",
    metric=Metric("mIoU", "%", scale=100),
    divergence=_divergence,
    loss=_loss,
    measure=_areas,
    total=_mean,
    training_loss=training_loss,
    output="logits",
    width=lambda data: len(data.class_names) or None,
    maps=True,
    why_unfit=_why_unfit,
    check_targets=_check,
    figures=("mIoU", "miou", "mean_iou"),
)
