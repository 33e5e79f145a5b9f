"""Images decoded and augmented one by one in worker processes."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from depthopt.data.dataset import Batch, Preprocessing, batch_indices
from depthopt.data.decode import Decoded, Oddity
from depthopt.data.seeds import all_seeded
from depthopt.data.stored import ImagePair, StoredImage
from depthopt.data.together import SCALE, target_tensor, transform_of_pairs
from depthopt.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ImageSplit:
    """Images decoded one by one in worker processes.

    Attributes:
        images: one by one.
        targets: labels ``(n,)`` int64; None where there are none, or each image has its own.
        preprocessing: what a batch shall look like.
        workers: processes that decode; 0 decodes in this one.
        skip_damaged: leave out images that cannot be read, with a warning.
        told: what the user was warned of; one set for all splits of a data set.
    """

    images: Sequence[StoredImage]
    targets: Tensor | None
    preprocessing: Preprocessing
    workers: int
    skip_damaged: bool = False
    told: set[Oddity] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> "ImageSplit":
        """The images at ``indices``."""
        images = [self.images[i] for i in indices.tolist()]
        targets = None if self.targets is None else self.targets[indices]
        return replace(self, images=images, targets=targets)

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
        """See ``Split.batches``. Augmentation crops and mirrors at random.

        Raises:
            DataError: an image cannot be read.
        """
        chosen = batch_indices(
            len(self), batch_size, shuffle_seed=shuffle_seed, skip=skip, part=part
        )
        loader = DataLoader(
            _Decoder(self, randaugment, seed=(shuffle_seed or 0) if augment else None),
            batch_sampler=[indices.tolist() for indices in chosen],
            num_workers=self.workers,
            collate_fn=list,
            generator=torch.Generator(),  # else the loader draws from the global one
        )
        for indices, decoded in zip(chosen, loader, strict=True):
            good = [i for i, found in enumerate(decoded) if not isinstance(found, DataError)]
            if len(good) < len(decoded):
                self._tell([found for found in decoded if isinstance(found, DataError)], good)
            self._tell_oddities((self.images[int(indices[i])].name, decoded[i][1]) for i in good)
            images = torch.from_numpy(np.stack([decoded[i][0] for i in good])).float()
            targets = None if self.targets is None else self.targets[indices[good]]
            if any(decoded[i][2] is not None for i in good):
                targets = target_tensor([decoded[i][2] for i in good])
            yield self.preprocessing.normalise(images), targets

    def _tell(self, damaged: Sequence[DataError], good: Sequence[int]) -> None:
        """Raise the first error, or warn of all and go on with what is left."""
        if not self.skip_damaged:
            raise damaged[0]
        if not good:
            raise DataError(f"{damaged[0]}; so is every other image of its batch")
        for error in damaged:
            logger.warning("left out: %s", error)

    def _tell_oddities(self, found: Iterable[tuple[str, Iterable[Oddity]]]) -> None:
        """Warn of each oddity when it is first met; those of checked images were counted."""
        for name, oddities in found:
            for oddity in oddities:
                if oddity not in self.told:
                    self.told.add(oddity)
                    logger.warning("some images %s (first: %s)", oddity.value, name)


_Read = tuple[NDArray[np.uint8], tuple[Oddity, ...], NDArray[np.uint8] | None]
"""Pixels, what is not kept of the image, and its target where that is an image."""


class _Decoder(TorchDataset[_Read | DataError]):
    """Images by index, each augmented by a generator of its own.

    A damaged image is returned as its error: one raised in a worker would reach the user
    as a page of traceback.
    """

    def __init__(self, split: ImageSplit, randaugment: str | None, *, seed: int | None) -> None:
        self.images = split.images
        self.seed = seed
        view = split.preprocessing
        self.mode = "L" if view.input_size[0] == 1 else "RGB"
        first = next(iter(split.images), None)
        if isinstance(first, ImagePair):
            if randaugment is not None:
                raise DataError("randaugment is for images with labels; leave it out")
            self.together = transform_of_pairs(view, first, is_training=seed is not None)
            return
        self.transform = create_transform(
            view.input_size,
            is_training=seed is not None,
            interpolation=view.interpolation,
            crop_pct=view.crop_pct,
            scale=SCALE,
            color_jitter=0.0,
            auto_augment=randaugment,
            use_prefetcher=True,  # leaves uint8: a quarter of the bytes to send
        )

    def __getitem__(self, index: int) -> _Read | DataError:
        try:
            image = self.images[index]
            found = image.read(self.mode)
            if self.seed is None:
                return self._pixels(image.name, found)
            with all_seeded(f"{self.seed}/{index}"):
                return self._pixels(image.name, found)
        except DataError as error:
            return error

    def _pixels(self, name: str, found: Decoded) -> _Read:
        if found.target is None:
            pixels: NDArray[np.uint8] = self.transform(found.image)
            return pixels, found.oddities, None
        pixels, target = self.together(name, found.image, found.target)
        return pixels, found.oddities, target
