"""Looking at every image once, before hours of work depend on it."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from depthopt.core.progress import Progress
from depthopt.data.images import ImageSplit, StoredImage
from depthopt.errors import DataError

logger = logging.getLogger(__name__)

_TOGETHER = 64


def without_damaged(splits: Sequence[ImageSplit], progress: Progress) -> list[ImageSplit]:
    """Decode every image once.

    Returns:
        The splits; where they skip damaged images, without these.

    Raises:
        DataError: some are damaged and the splits do not skip them; the message names the
            first.
    """
    images = [image for split in splits for image in split.images]
    errors = _errors(images, progress)
    if not errors:
        return list(splits)
    first = str(errors[min(errors)])
    if not all(split.skip_damaged for split in splits):
        raise DataError(
            first + (f" ({len(errors)} damaged images in all)" if len(errors) > 1 else "")
        )
    logger.warning("%d of %d images are left out; %s", len(errors), len(images), first)
    kept, begin = [], 0
    for split in splits:
        good = [i for i in range(len(split)) if begin + i not in errors]
        kept.append(split.subset(torch.tensor(good, dtype=torch.int64)))
        begin += len(split)
    return kept


def _errors(images: Sequence[StoredImage], progress: Progress) -> dict[int, DataError]:
    """What is wrong with which image."""

    def damaged(begin: int) -> dict[int, DataError]:
        errors = {}
        for i, image in enumerate(images[begin : begin + _TOGETHER], start=begin):
            try:
                image.read("RGB")
            except DataError as error:
                errors[i] = error
        return errors

    found: dict[int, DataError] = {}
    starts = range(0, len(images), _TOGETHER)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for begin, errors in zip(starts, pool.map(damaged, starts), strict=True):
            found |= errors
            progress(min(begin + _TOGETHER, len(images)), len(images), "checking images")
    return found
