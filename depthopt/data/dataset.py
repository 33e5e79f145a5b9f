"""Data sets: three disjoint splits that yield batches of inputs and targets."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from depthopt.core.inputs import ImageSize, Inputs, InputSize, size_text
from depthopt.core.interpolation import Interpolation
from depthopt.errors import DataError

T = TypeVar("T")

MOST_HELD_OUT = 512
"""Default number of calibration examples, if there are enough."""

_HELD_OUT_SHARE = 5
"""If there are fewer, one example in this many is held out."""

Batch = tuple[Inputs, Tensor | None]
"""Inputs, such as images ``(n, channels, height, width)`` float32, normalised; and targets
``(n, ...)``, such as labels ``(n,)`` int64, or None if there are none."""


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

    input_size: ImageSize
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation = "bilinear"
    crop_pct: float = 1.0

    def normalise(self, pixels: Tensor) -> Tensor:
        """Float32 ``pixels`` of 0..255, ``(n, channels, height, width)``, in place."""
        mean = 255 * torch.tensor(self.mean).view(1, -1, 1, 1)
        std = 255 * torch.tensor(self.std).view(1, -1, 1, 1)
        return pixels.sub_(mean).div_(std)


class Split(Protocol):
    """A set of examples."""

    @property
    def targets(self) -> Tensor | None:
        """``(n, ...)``, such as labels ``(n,)`` int64.

        None where there are none, or each is read with its input.
        """

    def subset(self, indices: Tensor) -> "Split":
        """The examples at ``indices``."""

    def __len__(self) -> int:
        """Number of examples."""

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
        """One pass over the examples.

        The same arguments give the same batches, whatever the state of the global random
        generators, so that training can go on in the middle of an epoch.

        Args:
            batch_size: examples per batch.
            shuffle_seed: order of the examples; None keeps them in order. A shuffled pass
                leaves out a last, incomplete batch (see ``training_steps``).
            augment: change the inputs at random, drawn from ``shuffle_seed`` (None: 0).
            randaugment: timm's description of what else to do to images in files.
            skip: number of first batches to leave out, at no cost.
            part: (rank, number) of this process among those that share every batch; its
                images are those that the whole batch would hold, every ``number``-th.
        """


@dataclass(frozen=True, slots=True)
class Repeated(Collection[T]):
    """The first ``count`` batches, made again on every pass.

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


@dataclass(frozen=True, slots=True, repr=False)
class Dataset:
    """Examples in three disjoint splits.

    Attributes:
        name: as given to ``load_dataset``.
        class_names: in the order of the labels; none where targets are not classes.
        preprocessing: from stored pixels to images, which the trained model expects too; or what
            the inputs are, where they are no such images.
        train: what weights are trained on.
        calibration: held out from train; for regression, scores and choices.
        test: for the final figures only. Nothing that picks a plan may see it.
    """

    name: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing | InputSize
    train: Split
    calibration: Split
    test: Split

    def __repr__(self) -> str:
        splits = {"train": self.train, "calibration": self.calibration, "test": self.test}
        counts = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
        return f"Dataset {self.name} @{size_text(self.input_size)}: {counts}"

    @property
    def input_size(self) -> InputSize:
        """(channels, height, width) of the images, or the named inputs."""
        own = self.preprocessing
        return own.input_size if isinstance(own, Preprocessing) else own


def training_steps(examples: int, batch_size: int) -> int:
    """The number of batches in one shuffled pass."""
    return max(1, examples // batch_size)


def batch_indices(
    examples: int,
    batch_size: int,
    *,
    shuffle_seed: int | None,
    skip: int,
    part: tuple[int, int],
) -> Sequence[Tensor]:
    """The examples' indices, batch by batch, as ``Split.batches`` orders and shares them."""
    rank, number = part
    order, stop = torch.arange(examples), examples
    if shuffle_seed is not None:
        order = torch.randperm(examples, generator=torch.Generator().manual_seed(shuffle_seed))
        stop = batch_size * training_steps(examples, batch_size)
    starts = range(skip * batch_size, stop, batch_size)
    return [order[i : i + batch_size][rank::number] for i in starts]


def calibration_split(
    targets: Tensor, images: int | None, *, seed: int, name: str
) -> tuple[Tensor, Tensor]:
    """Divide the training examples into those to calibrate on and those to train on.

    Args:
        targets: ``(n, ...)``; classes are ``(n,)`` int64.
        images: number to hold out; None holds out ``MOST_HELD_OUT``, or a fifth where that is
            less, each class once if possible.
        seed: of the choice.
        name: of the data set, for the message.

    Returns:
        Indices held out and the others, each ascending.

    Raises:
        DataError: none would be left, or none held out.
    """
    total = len(targets)
    if images is None and total // _HELD_OUT_SHARE >= MOST_HELD_OUT:
        images = MOST_HELD_OUT
    if images is None and total >= 2:
        fifth = max(1, total // _HELD_OUT_SHARE)
        if targets.dim() == 1 and targets.dtype == torch.int64:
            fifth = max(fifth, min(len(set(targets.tolist())), total // 2))
        return stratified(targets, fifth, seed=seed, each=True)
    if not 0 < (images or 0) < total:
        raise DataError(
            f"calibration_images is {images or 0}; {name} has {total} training images, "
            f"of which 1 to {total - 1} can be held out"
        )
    return stratified(targets, images or 0, seed=seed)


def has_targets(split: Split) -> bool:
    """Whether a split's examples have targets, be they listed or each read with its input."""
    if split.targets is not None or not len(split):
        return split.targets is not None
    _, target = next(split.subset(torch.tensor([0])).batches(1))
    return target is not None


def strata(split: Split) -> Tensor:
    """What a split is divided in proportion of: its targets; without any, numbers (n,) float64."""
    return torch.arange(len(split)).double() if split.targets is None else split.targets


def stratified(
    targets: Tensor, images: int, *, seed: int, each: bool = False
) -> tuple[Tensor, Tensor]:
    """Hold out ``images`` indices, from each class in proportion; without classes, at random.

    Args:
        targets: ``(n, ...)``; classes are ``(n,)`` int64.
        images: number to hold out, at most n.
        seed: of the choice.
        each: of every class of two or more hold out one first, however few it has.

    Returns:
        Indices held out and the others, each ascending.
    """
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    if targets.dim() == 1 and targets.dtype == torch.int64:
        quantile = torch.empty(len(targets), dtype=torch.float64)
        for label in set(targets.tolist()):
            members = order[targets[order] == label]
            count = len(members)
            quantile[members] = (torch.arange(count, dtype=torch.float64) + 0.5) / count
            if each and count > 1:
                quantile[members[0]] = 0
        # The lowest quantiles of all classes together hold each class in proportion.
        order = order[quantile[order].argsort(stable=True)]
    return order[:images].sort().values, order[images:].sort().values
