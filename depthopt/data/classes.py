"""Data sets of images: in memory, in folders, in shards, and from hubs."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from depthopt.core.inputs import ImageSize, image_size
from depthopt.data import builtin
from depthopt.data.check import without_damaged
from depthopt.data.dataset import Dataset, Preprocessing, calibration_split, strata
from depthopt.data.decode import Oddity
from depthopt.data.hub import index_hugging_face, index_torchvision
from depthopt.data.images import ImageSplit
from depthopt.data.index import Index, checked, index_folder, index_images
from depthopt.data.memory import MemorySplit
from depthopt.data.pairs import MASKS as MASK_FOLDER
from depthopt.data.pairs import TARGETS as TARGET_FOLDER
from depthopt.data.pairs import classes_of_masks, index_pairs
from depthopt.data.shards import index_shards
from depthopt.data.source import DataSource, Request
from depthopt.errors import DataError

logger = logging.getLogger(__name__)

_IMAGENET = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

_S = TypeVar("_S", MemorySplit, ImageSplit)


def _digits(request: Request) -> Dataset:
    view = _preprocessing(request, ((builtin.DIGITS_MEAN,), (builtin.DIGITS_STD,)))
    images, test = (_in_memory(i, view, mirror=False) for i in builtin.digits())
    return _split(request, builtin.DIGITS_CLASSES, images, test)


def _fashion_mnist(request: Request) -> Dataset:
    view = _preprocessing(request, ((builtin.FASHION_MEAN,), (builtin.FASHION_STD,)))
    loaded = builtin.fashion_mnist(request.root)
    images, test = (_in_memory(i, view, mirror=True) for i in loaded)
    return _split(request, builtin.FASHION_CLASSES, images, test)


def _folder(request: Request) -> Dataset:
    return _indexed(request, index_folder((request.root or Path()) / request.path))


def _images(request: Request) -> Dataset:
    return _indexed(request, index_images((request.root or Path()) / request.path))


def _masks(request: Request) -> Dataset:
    path = (request.root or Path()) / request.path
    index = index_pairs(path, MASK_FOLDER)
    return replace(_indexed(request, index), class_names=classes_of_masks(path, index))


def _pairs(request: Request) -> Dataset:
    index = index_pairs((request.root or Path()) / request.path, TARGET_FOLDER)
    return _indexed(replace(request, mean=request.mean or (0.0,), std=request.std or (1.0,)), index)


def _shards(request: Request) -> Dataset:
    return _indexed(request, index_shards((request.root or Path()) / request.path))


def _hugging_face(request: Request) -> Dataset:
    return _indexed(request, index_hugging_face(request.path, request.root))


def _torchvision(request: Request) -> Dataset:
    return _indexed(request, index_torchvision(request.path, request.root))


DIGITS = DataSource(name="digits", load=_digits)
FASHION_MNIST = DataSource(name="fashion_mnist", load=_fashion_mnist)
FOLDER = DataSource(name="folder", load=_folder)
IMAGES = DataSource(name="images", load=_images)
MASKS = DataSource(name="masks", load=_masks)
PAIRS = DataSource(name="pairs", load=_pairs)
WDS = DataSource(name="wds", load=_shards)
HFDS = DataSource(name="hfds", load=_hugging_face)
TORCH = DataSource(name="torch", load=_torchvision)


def _preprocessing(
    request: Request, own: tuple[tuple[float, ...], tuple[float, ...]]
) -> Preprocessing:
    try:
        size = image_size(request.input_size)
    except ValueError as error:
        raise DataError(f"{request.source} holds images, and {error}") from None
    mean, std = own
    return Preprocessing(
        size,
        _per_channel("mean", request.mean or mean, size),
        _per_channel("std", request.std or std, size),
        request.interpolation,
        request.crop_pct,
    )


def _indexed(request: Request, index: Index) -> Dataset:
    if index.remarks:
        logger.warning("%s: %s", request.source, "; ".join(index.remarks))
    view, held_out = _preprocessing(request, _IMAGENET), checked(index, request.source)
    told = set[Oddity]()
    train, test = (_of_index(index, s, view, request, told) for s in ("train", held_out))
    if request.check:
        train, test = without_damaged((train, test), request.progress)
    return _split(request, index.classes, train, test)


def _of_index(
    index: Index, split: str, view: Preprocessing, request: Request, told: set[Oddity]
) -> ImageSplit:
    found = index.images[split]
    return ImageSplit(
        [image for _, image in found],
        torch.tensor([label for label, _ in found]) if index.classes else None,
        view,
        request.workers,
        request.skip_damaged,
        told,
    )


def _per_channel(name: str, values: tuple[float, ...], input_size: ImageSize) -> tuple[float, ...]:
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


def _split(request: Request, class_names: tuple[str, ...], images: _S, test: _S) -> Dataset:
    """Divide ``images`` into those to calibrate on and those to train on."""
    calibration, train = calibration_split(
        strata(images), request.calibration_images, seed=request.seed, name=request.source
    )
    return Dataset(
        request.source,
        class_names,
        images.preprocessing,
        images.subset(train),
        images.subset(calibration),
        test,
    )
