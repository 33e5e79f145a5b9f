"""Examples of a torch data set that is given in memory, read one by one and checked."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset, default_collate
from torch.utils.data import Dataset as TorchDataset

from depthopt.core import limits
from depthopt.core.clipped import clipped, one_line
from depthopt.core.inputs import ImageSize, fitting
from depthopt.data.seeds import all_seeded
from depthopt.errors import DataError

_FORM = "(image, label), the image a float tensor (channels, height, width), the label a number"

_PASS_BATCH = 64
"""Examples at a time where all are gone through for their labels."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """A data set that is read by index, with how its examples become batches.

    Attributes:
        rows: gives ``(image, label)`` by index, and knows its length.
        name: in messages, such as ``the training data``.
        workers: processes that draw examples.
        collate: from a list of examples to ``(images, labels)`` of a batch.
    """

    rows: Any
    name: str
    workers: int = 0
    collate: Callable[[list[Any]], Any] = default_collate

    def __len__(self) -> int:
        return len(self.rows)

    def loader(self, batches: Sequence[Sequence[int]], *, seed: str) -> DataLoader[Any]:
        """A loader of batches by their examples' indices.

        Whatever the data set does at random, it does the same for one seed and index. A batch that
        cannot be had comes as a ``DataError``: raised in a worker it would be a page of traceback.
        """
        return DataLoader(
            _Drawn(self, seed),
            batch_sampler=[list(indices) for indices in batches],
            num_workers=self.workers,
            collate_fn=self._batch,
            generator=torch.Generator(),  # else the loader draws from the global one
        )

    def example(self, index: int, *, seed: str) -> tuple[Tensor, int]:
        """One image (C, H, W) and its label.

        Raises:
            DataError: the data set does not give these.
        """
        given = _Drawn(self, seed)[index]
        if isinstance(given, DataError):
            raise given
        if self.collate is not default_collate:
            batch = self._batch([given])
            if isinstance(batch, DataError):
                raise batch
            given = batch[0][0], batch[1][0]
        return _checked(given, f"{self.name}: example {index}")

    def own_labels(self) -> Tensor | None:
        """The labels (n,) that the data set lists. None if it does not list any.

        A ``target_transform`` may change them, and then they are not taken.
        """
        return None if self.collate is not default_collate else _listed(self.rows)

    def read_labels(self) -> Tensor:
        """The labels (n,), read in one pass over all examples.

        Raises:
            DataError: some cannot be had.
        """
        starts = range(0, len(self), _PASS_BATCH)
        order = [range(i, min(i + _PASS_BATCH, len(self))) for i in starts]
        loader = self.loader(order, seed="labels")
        return torch.cat([checked_batch(batch, self.name)[1] for batch in loader])

    def _batch(self, examples: list[Any]) -> Any:
        for example in examples:
            if isinstance(example, DataError):
                return example
        try:
            return self.collate(examples)
        except Exception as error:  # of images of several sizes, or of a user's own code
            shapes = {tuple(getattr(e[0], "shape", ())) for e in examples if isinstance(e, tuple)}
            sizes = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes)[:2])
            why = f"images are of {sizes}; resize them to one size" if len(shapes) > 1 else ""
            return DataError(
                f"{self.name} cannot make a batch of its examples: {why or one_line(error)}"
            )


class _Drawn(TorchDataset[Any]):
    """Examples by index, each drawn with random generators of its own."""

    def __init__(self, examples: Examples, seed: str) -> None:
        self.rows, self.name, self.seed = examples.rows, examples.name, seed

    def __getitem__(self, index: int) -> Any:
        try:
            with all_seeded(f"{self.seed}/{index}"):
                return self.rows[index]
        except Exception as error:  # of a user's own code
            kind = type(error).__name__
            return DataError(f"{self.name}: example {index} fails ({kind}: {one_line(error)})")


def examples_of(given: Any, name: str) -> Examples:
    """The examples of what a user gives.

    Args:
        given: a map-style data set, or a ``DataLoader`` of one; of the latter the number of
            workers and the ``collate_fn`` are kept, not its order, nor its batch size.
        name: in messages.

    Raises:
        DataError: it is neither, is empty, or does not give images and labels.
    """
    examples = Examples(given, name)
    if isinstance(given, DataLoader):
        own = given.batch_sampler is not None  # without one it makes no batches
        collate = given.collate_fn if own else default_collate
        examples = Examples(given.dataset, name, given.num_workers, collate)
    rows = examples.rows
    if isinstance(rows, IterableDataset):
        raise DataError(
            f"{name} is an IterableDataset, which can only be read in order; give "
            "one with __getitem__ and __len__, or write the images into a folder of classes"
        )
    if isinstance(rows, dict | Tensor) or not (
        hasattr(rows, "__getitem__") and hasattr(rows, "__len__")
    ):
        raise DataError(
            f"{name} is of type {type(rows).__name__}; expected a torch Dataset with __getitem__ "
            f"and __len__, or a DataLoader of one, that gives {_FORM}"
        )
    if not len(rows):
        raise DataError(f"{name} holds no examples")
    examples.example(0, seed="first")
    return examples


def checked_batch(batch: Any, name: str) -> tuple[Tensor, Tensor]:
    """Check a loader's batch: images (n, C, H, W) float32 and labels (n,) int64.

    Raises:
        DataError: these are others, or the batch could not be had.
    """
    if isinstance(batch, DataError):
        raise batch
    match batch:
        case (Tensor() as images, Tensor() as labels):
            pass
        case _:
            raise DataError(f"{name} gives batches of {_kinds(batch)}, expected two tensors")
    if images.dim() != 4 or not images.is_floating_point():
        raise DataError(
            f"{name} gives batches of images {tuple(images.shape)} {images.dtype}, expected floats "
            "(n, channels, height, width)"
        )
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        raise DataError(
            f"{name} gives labels {tuple(labels.shape)} {labels.dtype} with {len(images)} images, "
            "expected one whole number an image"
        )
    return images.float(), labels.long()


def size_of(image: Tensor, name: str) -> ImageSize:
    """(channels, height, width) of an image.

    Raises:
        DataError: it is too large.
    """
    channels, height, width = image.shape
    try:
        fitting((channels, height, width))
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None
    return channels, height, width


def _checked(given: Any, where: str) -> tuple[Tensor, int]:
    match given:
        case (image, label) if not isinstance(given, str | Tensor):
            pass
        case _:
            raise DataError(f"{where} is {_kinds(given)}, expected {_FORM}")
    if not isinstance(image, Tensor):
        raise DataError(
            f"{where} has an object of type {type(image).__name__} for an image; give the data set "
            "a transform that makes a normalised float tensor of it"
        )
    if not image.is_floating_point():
        raise DataError(
            f"{where} has an image of {image.dtype}; expected floats, normalised as the network "
            "expects it"
        )
    if image.dim() == 4:
        raise DataError(
            f"{where} is a batch of images {tuple(image.shape)}; give what holds single images "
            "(channels, height, width): the data set, not a list of its batches"
        )
    if image.dim() != 3:
        raise DataError(f"{where} has an image {tuple(image.shape)}; expected (C, H, W)")
    if not bool(image.isfinite().all()):
        raise DataError(f"{where} has an image with NaN or infinite values")
    return image, _label(label, where)


def _label(label: Any, where: str) -> int:
    if isinstance(label, Tensor):
        whole = label.numel() == 1 and label.dim() <= 1 and not label.is_floating_point()
        found = int(label) if whole else None
    else:
        try:
            found = operator.index(label)
        except TypeError:
            found = None
    if found is None or not 0 <= found < limits.LABELS:
        raise DataError(
            f"{where} has the label {_shown(label)}; expected a whole number of 0 or more"
            f"{_so(label)}"
        )
    return found


def _shown(label: Any) -> str:
    if not isinstance(label, Tensor):
        return clipped(label)
    if label.numel() == 1:
        return f"{label.item()} ({label.dtype})"
    return f"a tensor of shape {tuple(label.shape)}"


def _so(label: Any) -> str:
    """What to do about a label that is none, where that is clear."""
    if isinstance(label, str):
        return "; number the classes from 0"
    if isinstance(label, Tensor) and label.numel() > 1:
        return "; of a row with a one take its argmax()"
    if isinstance(label, float) or (isinstance(label, Tensor) and label.is_floating_point()):
        return ", such as int(label)"
    return ""


def _kinds(given: Any) -> str:
    if isinstance(given, tuple | list):
        return f"({', '.join(type(each).__name__ for each in given[:4])})"
    return f"a {type(given).__name__}"


def _listed(rows: Any) -> Tensor | None:
    """The labels that a data set lists, one an example."""
    if isinstance(rows, Subset):
        inner = _listed(rows.dataset)
        return None if inner is None else inner[torch.as_tensor(list(rows.indices))]
    if isinstance(rows, TensorDataset):
        found: Any = rows.tensors[1] if len(rows.tensors) == 2 else None
    else:
        changed = getattr(rows, "target_transform", None) is not None
        found = None if changed else getattr(rows, "targets", None)
    if found is None:
        return None
    try:
        labels = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError):
        return None
    if labels.shape != (len(rows),) or labels.is_floating_point() or labels.dtype == torch.bool:
        return None
    return labels.long()
