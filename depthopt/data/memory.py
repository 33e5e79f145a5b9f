"""Small data sets held in memory, turned into batches by operations on whole batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from depthopt.data.dataset import Batch, Preprocessing, batch_indices
from depthopt.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class MemorySplit:
    """Images as stored. Every batch is resized, augmented and normalised as a whole.

    Attributes:
        pixels: ``(n, 1 or 3, stored height, stored width)`` uint8.
        targets: labels ``(n,)`` int64.
        preprocessing: what a batch shall look like.
        mirror: whether augmentation may flip images left to right.
    """

    pixels: Tensor
    targets: Tensor
    preprocessing: Preprocessing
    mirror: bool

    def __len__(self) -> int:
        return len(self.targets)

    def subset(self, indices: Tensor) -> "MemorySplit":
        """The images at ``indices``."""
        return MemorySplit(
            self.pixels[indices], self.targets[indices], self.preprocessing, self.mirror
        )

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
        """See ``Split.batches``. Augmentation shifts by up to an eighth, and mirrors.

        Raises:
            DataError: ``randaugment``, which is for images in files, is asked for.
        """
        if randaugment is not None:
            raise DataError("randaugment is for images in files; leave it out for this data set")
        channels, height, width = self.preprocessing.input_size
        shift = (height // 8, width // 8)
        if augment:
            generator = torch.Generator().manual_seed(shuffle_seed or 0)
            top = torch.randint(2 * shift[0] + 1, (len(self),), generator=generator)
            left = torch.randint(2 * shift[1] + 1, (len(self),), generator=generator)
            flip = torch.rand(len(self), generator=generator) < (0.5 if self.mirror else 0)
        for chosen in batch_indices(
            len(self), batch_size, shuffle_seed=shuffle_seed, skip=skip, part=part
        ):
            images = self._resized(chosen)
            if augment:
                images = _crop(images, shift, top[chosen], left[chosen], flip[chosen])
            # A copy, since normalising channel by channel needs memory for each.
            images = images.expand(-1, channels, -1, -1).clone()
            yield self.preprocessing.normalise(images), self.targets[chosen]

    def _resized(self, chosen: Tensor) -> Tensor:
        """``(n, stored channels, height, width)`` float32 in 0..255."""
        return F.interpolate(
            self.pixels[chosen].float(),
            size=self.preprocessing.input_size[1:],
            mode=self.preprocessing.interpolation,
            align_corners=False,
            antialias=True,
        ).clamp_(0, 255)


def _crop(
    images: Tensor, shift: tuple[int, int], top: Tensor, left: Tensor, flip: Tensor
) -> Tensor:
    """Pad by ``shift`` zeros on each side, then cut each image out at its own place.

    Args:
        images: ``(n, channels, height, width)``.
        shift: (rows, columns) of padding.
        top: ``(n,)`` first row of each crop.
        left: ``(n,)`` first column of each crop.
        flip: ``(n,)`` whether to mirror the crop.
    """
    count, _, height, width = images.shape
    padded = F.pad(images, (shift[1], shift[1], shift[0], shift[0]))
    rows = top[:, None] + torch.arange(height)
    columns = left[:, None] + torch.arange(width)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    image = torch.arange(count)[:, None, None]
    return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
