"""Read every image once, before hours of work depend on it."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from depthopt.core.progress import Progress
from depthopt.data.decode import Oddity
from depthopt.data.images import ImageSplit
from depthopt.data.stored import StoredImage
from depthopt.errors import DataError

logger = logging.getLogger(__name__)

_TOGETHER = 64


def without_damaged(splits: Sequence[ImageSplit], progress: Progress) -> list[ImageSplit]:
    """Decode every image once, leave out damaged ones, and warn of what is ignored.

    Returns:
        The splits; where they skip damaged images, without these.

    Raises:
        DataError: some are damaged and the splits do not skip them; the message names the
            first.
    """
    images = [image for split in splits for image in split.images]
    errors, odd = _looked_at(images, progress)
    if odd:
        logger.warning(
            "of %d images, %s",
            len(images),
            "; ".join(
                f"{len(odd[oddity])} {oddity.value} (first: {images[min(odd[oddity])].name})"
                for oddity in Oddity
                if oddity in odd
            ),
        )
        for split in splits:
            split.told.update(odd)
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


def _looked_at(
    images: Sequence[StoredImage], progress: Progress
) -> tuple[dict[int, DataError], dict[Oddity, list[int]]]:
    """What is wrong with which image, and which have what that is not kept."""

    def some(begin: int) -> list[DataError | tuple[Oddity, ...]]:
        found: list[DataError | tuple[Oddity, ...]] = []
        for image in images[begin : begin + _TOGETHER]:
            try:
                found.append(image.read("RGB").oddities)
            except DataError as error:
                found.append(error)
        return found

    errors: dict[int, DataError] = {}
    odd: dict[Oddity, list[int]] = {}
    starts = range(0, len(images), _TOGETHER)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for begin, several in zip(starts, pool.map(some, starts), strict=True):
            for i, found in enumerate(several, start=begin):
                if isinstance(found, DataError):
                    errors[i] = found
                    continue
                for oddity in found:
                    odd.setdefault(oddity, []).append(i)
            progress(min(begin + _TOGETHER, len(images)), len(images), "checking images")
    return errors, odd
