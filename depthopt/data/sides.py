"""The stored size of a data set's images."""

from statistics import median

from depthopt.data.dataset import Dataset
from depthopt.data.images import ImageSplit
from depthopt.data.memory import MemorySplit
from depthopt.errors import DataError

SAMPLED = 32
"""Number of images whose size is read."""


def stored_size(data: Dataset) -> tuple[int, int] | None:
    """(channels, side) of the training images as they are stored. None if unknown.

    The side is the shorter one's median over some images. Images in files count as of three
    channels.
    """
    split = data.train
    if isinstance(split, MemorySplit):
        _, channels, height, width = split.pixels.shape
        return channels, min(height, width)
    if not isinstance(split, ImageSplit):
        return None
    sides = []
    for image in split.images[:: max(1, len(split) // SAMPLED)]:
        try:
            sides.append(min(image.read("RGB").image.size))
        except DataError:
            continue  # which the check of all images tells
    return (3, round(median(sides))) if sides else None
