"""The task ``restoration``: an image of an image, such as one without its noise.

Outputs and targets are images (N, channels, height, width), in 0..1. The metric is the peak
signal-to-noise ratio in decibels, of each image -10 log10 of the mean squared error, and its mean
over the images. Outputs outside of 0..1 count as the nearer end.
"""

from torch import Tensor

from depthopt.core.metric import Metric
from depthopt.data.dataset import Dataset
from depthopt.errors import DataError
from depthopt.tasks.task import Settings, Task, weighed

_LEAST = 1e-10
"""Mean squared error that counts as none: 100 dB."""


def _squares(outputs: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared errors, summed over the images."""
    return (outputs - wanted).square().flatten(1).mean(1).sum()


def training_loss(
    outputs: Tensor, targets: Tensor | None, teacher: Tensor | None, settings: Settings
) -> Tensor:
    """Mean absolute errors against the targets and against the teacher's outputs.

    Absolute ones restore better than squares, by PSNR too (Lim et al., "Enhanced Deep Residual
    Networks for Single Image Super-Resolution", CVPRW 2017, section 3.2).

    Args:
        outputs: (N, channels, height, width).
        targets: likewise, or None.
        teacher: likewise, or None.
        settings: of the training.
    """
    hard, soft = (
        None if wanted is None else (outputs - wanted).abs().mean() for wanted in (targets, teacher)
    )
    return weighed(hard, soft, settings)


def _decibels(outputs: Tensor, targets: Tensor) -> Tensor:
    errors = (outputs.clamp(0, 1) - targets).square().flatten(1).mean(1)
    return (-10 * errors.clamp_min(_LEAST).log10()).sum()


def _why_unfit(outputs: Tensor, data: Dataset) -> tuple[str, str] | None:
    _, wanted = next(data.calibration.batches(1))
    if wanted is None or wanted.shape[1:] == outputs.shape[1:]:
        return None
    found, asked = ("x".join(map(str, each.shape[1:])) for each in (outputs, wanted))
    return f"gives {found} for an image, {data.name} has targets of {asked}", "make them the same"


def _check(outputs: Tensor, targets: Tensor) -> None:
    if outputs.shape != targets.shape or not targets.is_floating_point():
        raise DataError(
            f"targets are {targets.dtype} of shape {tuple(targets.shape)}, expected images of the "
            f"shape of the outputs, {tuple(outputs.shape)}, in 0..1"
        )
    if float(targets.min()) < 0 or float(targets.max()) > 1:
        raise DataError(
            f"targets lie in {float(targets.min()):.3g}..{float(targets.max()):.3g}, expected "
            "pixels in 0..1, not normalised"
        )


TASK = Task(
    name="restoration",
    metric=Metric("PSNR", "dB"),
    divergence=_squares,
    loss=_squares,
    measure=_decibels,
    training_loss=training_loss,
    output="restored",
    why_unfit=_why_unfit,
    check_targets=_check,
)
