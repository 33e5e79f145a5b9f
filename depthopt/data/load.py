"""From the name of a data set to its three splits."""

import difflib
from pathlib import Path
from typing import TypeVar

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from depthopt.core.progress import Progress, silent
from depthopt.data import builtin
from depthopt.data.check import without_damaged
from depthopt.data.dataset import Dataset, Preprocessing, stratified
from depthopt.data.hub import index_hugging_face, index_torchvision
from depthopt.data.images import ImageSplit
from depthopt.data.index import Index, checked, index_folder
from depthopt.data.memory import MemorySplit
from depthopt.data.shards import index_shards
from depthopt.errors import DataError

SOURCES = ("digits", "fashion_mnist", "folder:PATH", "wds/PATH", "hfds/NAME", "torch/NAME")
"""What ``load_dataset`` knows."""

_STATISTICS = {
    "digits": ((builtin.DIGITS_MEAN,), (builtin.DIGITS_STD,)),
    "fashion_mnist": ((builtin.FASHION_MEAN,), (builtin.FASHION_STD,)),
}

_S = TypeVar("_S", MemorySplit, ImageSplit)


def load_dataset(
    source: str,
    *,
    input_size: tuple[int, int, int],
    calibration_images: int,
    seed: int,
    root: Path | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    interpolation: str = "bilinear",
    crop_pct: float = 1.0,
    workers: int = 2,
    check: bool = True,
    skip_damaged: bool = False,
    progress: Progress = silent,
) -> Dataset:
    """Find, check and split a data set.

    Args:
        source: ``digits`` (scikit-learn), ``fashion_mnist`` (Debian's package or
            torchvision's files), ``folder:PATH``, a folder or uncompressed tar of
            ``train/CLASS/IMAGE`` and ``val/CLASS/IMAGE`` (or ``test/``), ``wds/PATH``, a
            folder of webdataset's shards, or, as timm names them, ``hfds/NAME`` of Hugging
            Face's hub and ``torch/NAME`` of torchvision.
        input_size: (channels, height, width); 1 channel is grey, 3 are RGB.
        calibration_images: held out from train, each class in proportion.
        seed: of the choice of calibration images. The test split never depends on it.
        root: where files are searched first, what a path is relative to, and where the hub's
            downloads are kept.
        mean: per channel, of pixels in 0..1; by default the data set's own, and
            ImageNet's for folders.
        std: as ``mean``.
        interpolation: ``bilinear`` or ``bicubic``.
        crop_pct: share of the resized image's side that evaluation keeps (files only).
        workers: processes that decode images (files only).
        check: decode every image once, before anything else happens (files only).
        skip_damaged: leave out what cannot be read, with a warning, instead of stopping.
        progress: is told of the images that are checked.

    Raises:
        DataError: the data set is unknown, missing, empty or damaged, its classes differ
            between splits, or it has too few images.
    """
    kind = source.partition(":")[0]
    own_mean, own_std = _STATISTICS.get(kind, (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    preprocessing = Preprocessing(
        input_size,
        _per_channel("mean", mean or own_mean, input_size),
        _per_channel("std", std or own_std, input_size),
        interpolation,
        crop_pct,
    )
    held_out = (calibration_images, seed)
    if source == "digits":
        images, test = (_in_memory(i, preprocessing, mirror=False) for i in builtin.digits())
        return _split(source, builtin.DIGITS_CLASSES, images, test, held_out)
    if source == "fashion_mnist":
        loaded = builtin.fashion_mnist(root)
        images, test = (_in_memory(i, preprocessing, mirror=True) for i in loaded)
        return _split(source, builtin.FASHION_CLASSES, images, test, held_out)
    index = _index(source, root)
    if index is not None:
        train, held = (
            _of_index(index, split, preprocessing, workers, skip_damaged=skip_damaged)
            for split in ("train", checked(index, source))
        )
        if check:
            train, held = without_damaged((train, held), progress)
        return _split(source, index.classes, train, held, held_out)
    near = difflib.get_close_matches(source, SOURCES, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise DataError(f"unknown data set {source!r}; {hint}known: {', '.join(SOURCES)}")


def _index(source: str, root: Path | None) -> Index | None:
    """What a data set in files holds; None if it is of no kind that is known."""
    kind, _, path = source.partition(":" if source.startswith("folder:") else "/")
    if not path:
        return None
    if kind == "folder":
        return index_folder((root or Path()) / path)
    if kind == "wds":
        return index_shards((root or Path()) / path)
    if kind == "hfds":
        return index_hugging_face(path, root)
    if kind == "torch":
        return index_torchvision(path, root)
    return None


def _of_index(
    index: Index, split: str, preprocessing: Preprocessing, workers: int, *, skip_damaged: bool
) -> ImageSplit:
    found = index.images[split]
    return ImageSplit(
        [image for _, image in found],
        torch.tensor([label for label, _ in found]),
        preprocessing,
        workers,
        skip_damaged,
    )


def _per_channel(
    name: str, values: tuple[float, ...], input_size: tuple[int, int, int]
) -> tuple[float, ...]:
    """``values`` for the input's channels: one value serves all, grey takes RGB's average."""
    channels = input_size[0]
    if channels not in (1, 3):
        raise DataError(f"input_size {input_size} has {channels} channels; expected 1 or 3")
    if len(values) not in (1, 3):
        raise DataError(f"{name} has {len(values)} values; expected 1 or 3")
    return (
        values * channels if len(values) == 1 else values if channels == 3 else (sum(values) / 3,)
    )


def _in_memory(
    images: builtin.Images, preprocessing: Preprocessing, *, mirror: bool
) -> MemorySplit:
    pixels, labels = images
    return MemorySplit(pixels, labels, preprocessing, mirror)


def _split(
    name: str, class_names: tuple[str, ...], images: _S, test: _S, held_out: tuple[int, int]
) -> Dataset:
    """Divide ``images`` into calibration, (number, seed) of ``held_out``, and train."""
    number, seed = held_out
    if not 0 < number < len(images):
        raise DataError(
            f"calibration_images is {number}; {name} has {len(images)} training images, "
            f"of which 1 to {len(images) - 1} can be held out"
        )
    calibration, train = stratified(images.labels, number, seed=seed)
    return Dataset(
        name,
        class_names,
        images.preprocessing,
        images.subset(train),
        images.subset(calibration),
        test,
    )
