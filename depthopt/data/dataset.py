"""What a data set is: three disjoint splits that yield normalised batches."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

Batch = tuple[Tensor, Tensor]
"""Images ``(n, channels, height, width)`` float32, normalised; labels ``(n,)`` int64."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How stored pixels become a network's input.

    Attributes:
        input_size: (channels, height, width).
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
        interpolation: ``bilinear`` or ``bicubic``.
        crop_pct: share of the resized image's side that evaluation keeps (folders only).
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    crop_pct: float = 1.0

    def normalise(self, pixels: Tensor) -> Tensor:
        """Float32 ``pixels`` of 0..255, ``(n, channels, height, width)``, in place."""
        mean = 255 * torch.tensor(self.mean).view(1, -1, 1, 1)
        std = 255 * torch.tensor(self.std).view(1, -1, 1, 1)
        return pixels.sub_(mean).div_(std)


class Split(Protocol):
    """A set of labelled images."""

    @property
    def labels(self) -> Tensor:
        """``(n,)`` int64."""

    def subset(self, indices: Tensor) -> "Split":
        """The images at ``indices``."""

    def __len__(self) -> int:
        """Number of images."""

    def batches(
        self,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        augment: bool = False,
        randaugment: str | None = None,
        skip: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """One pass over the images.

        The same arguments give the same batches, whatever the state of the global random
        generators, so that training can go on in the middle of an epoch.

        Args:
            batch_size: images per batch.
            shuffle_seed: order of the images; None keeps them in order. A shuffled pass
                leaves out a last, incomplete batch (see ``training_steps``).
            augment: change the images at random, drawn from ``shuffle_seed`` (None: 0).
            randaugment: timm's description of what else to do to images in files.
            skip: number of first batches to leave out, at no cost.
            part: (rank, number) of this process among those that share every batch; its
                images are those that the whole batch would hold, every ``number``-th.
        """


@dataclass(frozen=True, slots=True)
class Repeated(Collection[T]):
    """The first ``count`` batches, made anew whenever they are gone through.

    Attributes:
        make: begins a pass.
        count: batches in a pass.
    """

    make: Callable[[], Iterator[T]]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[T]:
        return islice(self.make(), self.count)

    def __contains__(self, batch: object) -> bool:
        return any(batch is own for own in self)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images in three disjoint splits.

    Attributes:
        name: as given to ``load_dataset``.
        class_names: in the order of the labels.
        preprocessing: from stored pixels to input; also what the trained model expects.
        train: what weights are trained on.
        calibration: held out from train; for regression, scores and choices.
        test: for the final figures only. Nothing that picks a plan may see it.
    """

    name: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    train: Split
    calibration: Split
    test: Split

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images."""
        return self.preprocessing.input_size


def training_steps(images: int, batch_size: int) -> int:
    """Batches in one shuffled pass over ``images``."""
    return max(1, images // batch_size)


def batch_indices(
    images: int,
    batch_size: int,
    *,
    shuffle_seed: int | None,
    skip: int,
    part: tuple[int, int],
) -> Sequence[Tensor]:
    """The images' indices, batch by batch, as ``Split.batches`` orders and shares them."""
    rank, number = part
    order, stop = torch.arange(images), images
    if shuffle_seed is not None:
        order = torch.randperm(images, generator=torch.Generator().manual_seed(shuffle_seed))
        stop = batch_size * training_steps(images, batch_size)
    starts = range(skip * batch_size, stop, batch_size)
    return [order[i : i + batch_size][rank::number] for i in starts]


def stratified(labels: Tensor, images: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out ``images`` indices, each class in proportion.

    Args:
        labels: ``(n,)`` int64.
        images: number to hold out, at most n.
        seed: of the choice within each class.

    Returns:
        Indices held out and the others, each ascending.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    quantile = torch.empty(len(labels), dtype=torch.float64)
    for label in set(labels.tolist()):
        members = order[labels[order] == label]
        quantile[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    # The lowest quantiles of all classes together hold each class in proportion.
    chosen = order[quantile[order].argsort(stable=True)]
    return chosen[:images].sort().values, chosen[images:].sort().values
