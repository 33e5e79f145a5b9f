"""A data set given in memory: torch's data sets and loaders of images and labels."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torch.utils.data import Dataset as TorchDataset

from depthopt.core.clipped import clipped
from depthopt.core.numbers import CountOrZero, Seed, require
from depthopt.data.dataset import Batch, Dataset, batch_indices, calibration_split, stratified
from depthopt.data.examples import Examples, checked_batch, examples_of, size_of
from depthopt.errors import DataError, UsageError

logger = logging.getLogger(__name__)

IN_MEMORY = "memory:"
"""Prefix of the name of a data set that is in memory."""

_TESTED = 5
"""One example in this many is tested on, if no test data are given."""

_SAMPLE = 16
"""Number of a split's images that go into its digest, besides all labels."""


class _Source:
    """Examples, and their labels once these are asked for."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    @cached_property
    def labels(self) -> Tensor:
        """(n,) int64, as the data set lists them, or of a pass over all."""
        examples = self.examples
        labels = examples.own_labels()
        if labels is None or int(labels[0]) != examples.example(0, seed="first")[1]:
            logger.info("%s lists no labels; all its examples are drawn once", examples.name)
            labels = examples.read_labels()
        if int(labels.min()) < 0:
            raise DataError(
                f"{examples.name} has the label {int(labels.min())}, expected 0 or more"
            )
        return labels


@dataclass(frozen=True, slots=True, eq=False)
class GivenSplit:
    """Some examples of a data set in memory. Each is read when its batch is.

    Attributes:
        source: the whole data set.
        indices: (n,) of the examples.
    """

    source: _Source
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def targets(self) -> Tensor:
        """Labels ``(n,)`` int64."""
        return self.source.labels[self.indices]

    def subset(self, indices: Tensor) -> "GivenSplit":
        """The examples at ``indices``."""
        return GivenSplit(self.source, self.indices[indices])

    def batches(
        self,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        augment: bool = False,  # noqa: ARG002 - what the data set does itself is all that is done
        randaugment: str | None = None,
        skip: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """See ``Split.batches``. ``augment`` does nothing.

        Only the data set itself changes its examples. What it does at random depends on
        ``shuffle_seed``: another seed draws again, the same seed draws the same.

        Raises:
            DataError: ``randaugment``, which is for images in files, is asked for; or an example
                cannot be had.
        """
        if randaugment is not None:
            raise DataError("randaugment is for images in files; leave it out for this data set")
        chosen = batch_indices(
            len(self), batch_size, shuffle_seed=shuffle_seed, skip=skip, part=part
        )
        examples, wanted = self.source.examples, [self.indices[i].tolist() for i in chosen]
        for batch in examples.loader(wanted, seed=f"pass {shuffle_seed}"):
            yield checked_batch(batch, examples.name)


def given_dataset(
    train_or_all: Any,
    test: Any = None,
    *,
    calibration_images: int | None = None,
    seed: int = 0,
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """Make three splits of torch data sets, or of loaders, that give (image, label).

    Images are float tensors (C, H, W) of one size, normalised as the network expects them; labels
    are whole numbers from 0. Both are drawn when they are needed and never all in memory. Only
    what the data sets do themselves is done to them: ``augment`` in a recipe does nothing.

    Of a ``DataLoader`` its data set is taken, with its number of workers and its ``collate_fn``;
    the order and the size of batches are not its own. The same arguments give the same splits and
    batches, random transforms included.

    Args:
        train_or_all: what to train on, or what to divide; or a pair, (train, test).
        test: what to test on; without it a fifth of the examples, the same for the same labels.
        calibration_images: held out from what is trained on; see ``calibration_split``.
        seed: of the choice of these.
        class_names: in the order of the labels; by default the data set's ``classes``, or numbers.

    Returns:
        The data set; its name, ``memory:`` and 12 letters, is a digest of the number of examples,
        their labels, some of the images, and the splits.

    Raises:
        DataError: something else is given, such as an ``IterableDataset`` or a list of batches;
            an example is invalid; or there are too few.
        UsageError: a number is out of range.
    """
    if calibration_images is not None:
        require(CountOrZero, "calibration_images", calibration_images)
    require(Seed, "seed", seed)
    if test is None and _is_pair(train_or_all):
        train_or_all, test = train_or_all
    what = "the data given" if test is None else "the training data given"
    first = _Source(examples_of(train_or_all, what))
    everything = torch.arange(len(first.examples))
    if test is None:
        held, rest = _divided(first.labels)
        others, tested = first, GivenSplit(first, held)
    else:
        others = _Source(examples_of(test, "the test data given"))
        tested, rest = GivenSplit(others, torch.arange(len(others.examples))), everything
    size = size_of(first.examples.example(0, seed="first")[0], what)
    other = size_of(others.examples.example(0, seed="first")[0], "the test data given")
    if other != size:
        raise DataError(f"images of the training data are {size}, of the test data {other}")
    calibration, train = calibration_split(
        first.labels[rest], calibration_images, seed=seed, name=what
    )
    splits = {
        "train": GivenSplit(first, rest[train]),
        "calibration": GivenSplit(first, rest[calibration]),
        "test": tested,
    }
    return Dataset(
        name=IN_MEMORY + _digest(splits),
        class_names=_names(class_names, first, others),
        preprocessing=size,
        **splits,
    )


def require_given(data: Dataset | None, source: str, input_size: object) -> Dataset:
    """Check that the data set given is the one that a recipe's ``data.source`` names.

    Args:
        data: what is given; None if nothing is.
        source: the recipe's.
        input_size: the recipe's ``model.input_size``.

    Raises:
        UsageError: none is given, or another, or one of images of another size.
    """
    if data is None:
        raise UsageError(
            f"the data {source} were given in memory, so no file holds them; give them again from "
            "Python, as data="
        )
    if data.name != source:
        raise UsageError(
            f"the data given are {clipped(data.name)}, the run's are {source}; give the same ones, "
            "or another run folder"
        )
    if data.input_size != input_size:
        raise UsageError(
            f"the data given are of {data.input_size}, model.input_size is {input_size}; make them "
            "the same"
        )
    return data


def _is_pair(given: Any) -> bool:
    if not isinstance(given, tuple | list) or len(given) != 2:
        return False
    return all(isinstance(each, TorchDataset | DataLoader) for each in given)


def _divided(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which are tested on and which are not: of each class about a fifth."""
    count = labels.bincount()
    if alone := (count == 1).nonzero().flatten().tolist():
        raise DataError(
            f"the data given hold only one example of the class {alone[0]}; each class needs one "
            "to train on and one to test on: add some, or give test data too"
        )
    kinds = int((count > 0).sum())
    if kinds < 2:
        raise DataError("the data given hold only one class; two or more are needed")
    return stratified(labels, max(kinds, len(labels) // _TESTED), seed=0, each=True)


def _names(given: tuple[str, ...], *sources: _Source) -> tuple[str, ...]:
    most = 1 + max(int(source.labels.max()) for source in sources)
    rows = sources[0].examples.rows
    while isinstance(rows, Subset):
        rows = rows.dataset
    own = getattr(rows, "classes", None)
    names = given or (tuple(map(str, own)) if isinstance(own, list | tuple) else ())
    if given and len(given) < most:
        raise DataError(f"class_names has {len(given)} names, the labels go to {most - 1}")
    return names if len(names) >= most else tuple(map(str, range(most)))


def _digest(splits: dict[str, GivenSplit]) -> str:
    """12 letters of the labels, of a few images of each split, and of which examples these are."""
    found = hashlib.sha256()
    for name, split in splits.items():
        found.update(f"{name} {len(split)}".encode())
        found.update(split.indices.numpy().tobytes() + split.targets.numpy().tobytes())
        step = max(1, len(split) // _SAMPLE)
        for index in split.indices[::step][:_SAMPLE].tolist():
            image, _ = split.source.examples.example(index, seed="digest")
            found.update(image.float().contiguous().numpy().tobytes())
    return found.hexdigest()[:12]
