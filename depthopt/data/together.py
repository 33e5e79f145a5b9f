"""Change an image and the image that is its target alike.

Masks are resized with their images, to the nearest pixel. Other pairs are not: what is to be
restored, such as noise, would be gone from an image that is made smaller. They are only cut out.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from depthopt.data.dataset import Preprocessing
from depthopt.data.stored import ImagePair
from depthopt.errors import DataError

SCALE = (0.35, 1.0)
"""Share of an image's area that a random crop takes."""

Together = Callable[[str, Image.Image, Image.Image], tuple[NDArray[np.uint8], NDArray[np.uint8]]]
"""(name, image, target): the pixels of both, (channels, height, width), of a mask (height, width).
"""


def transform_of_pairs(view: Preprocessing, pair: ImagePair, *, is_training: bool) -> Together:
    """What is done to pairs like one.

    Args:
        view: what an image shall look like.
        pair: one of them.
        is_training: whether both are cropped, and mirrored, at random.

    Raises:
        DataError: on a call, if an image that is not resized is smaller than ``view`` asks for.
    """
    size, how = view.input_size[1:], InterpolationMode(view.interpolation)
    if not is_training:
        cut: v2.Transform = v2.CenterCrop(size)
    elif pair.is_mask:
        cut = v2.RandomResizedCrop(size, scale=SCALE, interpolation=how)
    else:
        cut = v2.RandomCrop(size)
    mirror = v2.RandomHorizontalFlip() if is_training else v2.Identity()  # which draws nothing

    def together(
        name: str, image: Image.Image, target: Image.Image
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        height, width = image.height, image.width
        if not pair.is_mask and (height < size[0] or width < size[1]):
            raise DataError(
                f"{name} has {width} x {height} pixels, and {size[1]} x {size[0]} are cut out of "
                "each; give a smaller input size, or leave it out"
            )
        other = tv_tensors.Mask(v2.functional.pil_to_tensor(target)) if pair.is_mask else target
        both = image, other
        if pair.is_mask and not is_training:
            factor = max(size[0] / height, size[1] / width) / view.crop_pct
            covering = [max(size[0], round(factor * height)), max(size[1], round(factor * width))]
            both = tuple(v2.functional.resize(each, covering, how) for each in both)
        pixels, answer = mirror(*cut(*both))
        if not pair.is_mask:
            return _array(pixels), _array(answer)
        return _array(pixels), answer.squeeze(0).numpy()

    return together


def _array(image: Image.Image) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = v2.functional.pil_to_tensor(image).numpy()
    return found


def target_tensor(targets: Sequence[NDArray[np.uint8] | None]) -> Tensor:
    """Targets of a batch: of masks (N, height, width) int64; of images, float32 in 0..1."""
    found = torch.from_numpy(np.stack([target for target in targets if target is not None]))
    return found.long() if found.dim() == 3 else found.float().div_(255)
