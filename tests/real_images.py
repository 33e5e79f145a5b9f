"""Real images that need no download: crops of scikit-learn's two photographs."""

from functools import cache

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor


def crops(count: int, size: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Random crops (count, *size), float32, about zero; one channel is the mean of three."""
    generator = torch.Generator().manual_seed(seed)
    photographs = _photographs()
    channels, height, width = size
    found = []
    for i in range(count):
        pixels = photographs[i % len(photographs)].permute(2, 0, 1).float() / 127.5 - 1
        top = int(torch.randint(pixels.shape[1] - height, (), generator=generator))
        left = int(torch.randint(pixels.shape[2] - width, (), generator=generator))
        found.append(pixels[:, top : top + height, left : left + width])
    images = torch.stack(found)
    return images if channels == 3 else images.mean(1, keepdim=True)


@cache
def _photographs() -> tuple[Tensor, ...]:
    """(height, width, 3) uint8 each; decoded once."""
    return tuple(torch.from_numpy(image.copy()) for image in load_sample_images().images)
