"""Images in files, decoded and augmented one by one in worker processes."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from depthopt.errors import DataError
from depthopt.train.dataset import Batch, Preprocessing, batch_indices
from depthopt.train.seeds import all_seeded


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Where one image's bytes lie.

    Attributes:
        name: what a message calls it.
        path: the file that holds it.
        start: offset of its first byte.
        size: number of its bytes; -1 for the rest of the file.
    """

    name: str
    path: str
    start: int = 0
    size: int = -1

    def read(self, mode: str) -> Image.Image:
        """Decode it in full, as ``RGB`` or ``L``.

        Raises:
            DataError: the image is cut short or otherwise unreadable.
        """
        try:
            with Path(self.path).open("rb") as file:
                file.seek(self.start)
                content = file.read(self.size)
            return Image.open(io.BytesIO(content)).convert(mode)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = str(error).split(" <")[0]
            raise DataError(f"{self.name} is damaged ({reason}); replace or delete it") from None


@dataclass(frozen=True, slots=True, eq=False)
class FolderSplit:
    """Images decoded one by one in worker processes.

    Attributes:
        files: one per image.
        labels: ``(n,)`` int64.
        preprocessing: what a batch shall look like.
        workers: processes that decode; 0 decodes in this one.
    """

    files: Sequence[ImageFile]
    labels: Tensor
    preprocessing: Preprocessing
    workers: int

    def __len__(self) -> int:
        return len(self.files)

    def subset(self, indices: Tensor) -> "FolderSplit":
        """The images at ``indices``."""
        files = [self.files[i] for i in indices.tolist()]
        return FolderSplit(files, self.labels[indices], self.preprocessing, self.workers)

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
        """See ``Split.batches``; augmentation crops at random and mirrors.

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
            arrays = [array for array in decoded if not isinstance(array, DataError)]
            if len(arrays) < len(decoded):
                raise next(error for error in decoded if isinstance(error, DataError))
            images = torch.from_numpy(np.stack(arrays)).float()
            yield self.preprocessing.normalise(images), self.labels[indices]


class _Decoder(TorchDataset[NDArray[np.uint8] | DataError]):
    """Images by index, each augmented by a generator of its own.

    A damaged image is returned as its error: one raised in a worker would reach the user
    as a page of traceback.
    """

    def __init__(self, split: FolderSplit, randaugment: str | None, *, seed: int | None) -> None:
        self.files = split.files
        self.seed = seed
        view = split.preprocessing
        self.mode = "L" if view.input_size[0] == 1 else "RGB"
        self.transform = create_transform(
            view.input_size,
            is_training=seed is not None,
            interpolation=view.interpolation,
            crop_pct=view.crop_pct,
            scale=(0.35, 1.0),
            color_jitter=0.0,
            auto_augment=randaugment,
            use_prefetcher=True,  # leaves uint8: a quarter of the bytes to send
        )

    def __getitem__(self, index: int) -> NDArray[np.uint8] | DataError:
        try:
            image = self.files[index].read(self.mode)
        except DataError as error:
            return error
        if self.seed is None:
            return self._pixels(image)
        with all_seeded(f"{self.seed}/{index}"):
            return self._pixels(image)

    def _pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = self.transform(image)
        return pixels
