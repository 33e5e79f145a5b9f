"""Accuracy of a side of a check, as its runtime computes it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from depthopt.check.network_files import Side, opened
from depthopt.errors import ModelError
from depthopt.runtimes.base import Runtime

if TYPE_CHECKING:  # torch takes seconds to import, and most checks need none of it
    from torch import Tensor

    from depthopt.data.dataset import Dataset

_BATCH = 64


def accuracy_on(source: str, runtime: Runtime) -> Callable[[Side], float]:
    """What gives a side's accuracy, in points of 100, on a data set's test split.

    Args:
        source: as ``load_dataset`` takes it; loaded once, at the first side's input size.
        runtime: what runs the sides.
    """
    from depthopt.data.load import load_dataset  # noqa: PLC0415 - torch takes seconds
    from depthopt.runtimes.session_module import SessionModule  # noqa: PLC0415 - as above
    from depthopt.tasks.evaluate import evaluate  # noqa: PLC0415 - as above

    loaded: dict[tuple[int, int, int], Dataset] = {}

    def accuracy(side: Side) -> float:
        size = _image_size(side)
        if size not in loaded:
            loaded[size] = load_dataset(source, input_size=size, calibration_images=1, seed=0)
        data = loaded[size]
        network = SessionModule(opened(runtime, side.path), batch=_BATCH)
        for images, _ in data.test.batches(1):
            _require_classes(side, network(images), data)
            break
        return evaluate(network, data.test.batches(_BATCH)).accuracy

    return accuracy


def _require_classes(side: Side, logits: "Tensor", data: "Dataset") -> None:
    """Refuse a network of other classes.

    Raises:
        ModelError: an image's output is not one logit for each class.
    """
    if logits.shape[1:] != (len(data.class_names),):
        raise ModelError(
            f"{side.name} gives {'x'.join(map(str, logits.shape[1:]))} numbers for an image, "
            f"{data.name} has {len(data.class_names)} classes; leave out --data, or give its own"
        )


def _image_size(side: Side) -> tuple[int, int, int]:
    """(channels, height, width) of the one input.

    Raises:
        ModelError: the network takes something else than images of one size.
    """
    shapes = list(side.input_shapes.values())
    if len(shapes) != 1 or len(shapes[0]) != 4 or None in shapes[0][1:]:
        raise ModelError(f"{side.name} takes no images of one size; leave out --data")
    channels, height, width = (int(n or 0) for n in shapes[0][1:])
    return channels, height, width
