"""Evaluate a network on a user's data."""

from collections.abc import Iterable
from pathlib import Path

from torch import nn
from torch.utils.data import Dataset as TorchDataset

from depthopt.core.clipped import clipped
from depthopt.core.inputs import InputSize
from depthopt.data.dataset import Batch
from depthopt.data.given import given_dataset
from depthopt.data.load import load_dataset
from depthopt.data.resolve import source_of_path
from depthopt.errors import DataError, ModelError, UsageError
from depthopt.pipeline.context import BATCH
from depthopt.tasks.evaluate import Evaluation
from depthopt.tasks.evaluate import evaluate as evaluated
from depthopt.tasks.registry import DEFAULT
from depthopt.tasks.task import Task


def evaluate(
    model: nn.Module,
    data: Iterable[Batch] | TorchDataset[Batch] | str | Path,
    *,
    task: Task | str = DEFAULT,
    input_size: InputSize | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Evaluation:
    """Measure ``model`` in eval mode, on its device. Its mode is restored afterwards.

    Args:
        model: from images ``(n, channels, height, width)``, or named inputs, to outputs
            ``(n, ...)``, of classification logits ``(n, classes)``.
        data: batches of inputs and targets, such as a torch ``DataLoader`` or
            ``split.batches(batch_size)``; or torch's ``Dataset`` of (image, label); or the name or
            path of a data set, whose test split is taken.
        task: what the network is for.
        input_size: (channels, height, width) of the images; of a data set's name or path.
        mean: per channel, of pixels in 0..1; of a data set's name or path, by default its own.
        std: as ``mean``.

    Raises:
        DataError: there are no examples, or some have no targets.
        UsageError: a data set's name or path, and no input size.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"a model is a torch.nn.Module; got {type(model).__name__}, of which "
            "depthopt.create_model makes one if it is a name"
        )
    if isinstance(data, TorchDataset):
        split = given_dataset(data, data).test
        return evaluated(model, split.batches(BATCH), task=task)
    if not isinstance(data, str | Path | Iterable):
        raise DataError(
            f"data is {clipped(data)}; expected batches of (images, labels), a torch Dataset, or a "
            "data set's name or path"
        )
    if not isinstance(data, str | Path):
        return evaluated(model, data, task=task)
    if input_size is None:
        raise UsageError(
            f"say which size {data} is resized to: input_size=(channels, height, width)"
        )
    found = load_dataset(
        source_of_path(str(data)),
        input_size=input_size,
        calibration_images=None,
        seed=0,
        mean=mean,
        std=std,
        check=False,
    )
    return evaluated(model, found.test.batches(BATCH), task=task)
