"""Write pairs of noisy and clean images, of the images in a folder or an uncompressed tar.

    python recipes/noisy.py PHOTOS data/noisy

The same arguments write the same files.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from depthopt.data.index import HELD_OUT, index_images


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sigma", type=float, default=25, help="of the noise, of 255")
    options = parser.parse_args()
    found, generator = index_images(options.photos), np.random.default_rng(0)
    for split, images in found.images.items():
        name = "val" if split in HELD_OUT else "train"
        for kind in ("images", "targets"):
            (options.folder / name / kind).mkdir(parents=True, exist_ok=True)
        for i, (_, image) in enumerate(images):
            clean = np.asarray(image.read("RGB").image)
            noisy = clean + generator.normal(0, options.sigma, clean.shape)
            noisy = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
            for kind, array in (("images", noisy), ("targets", clean)):
                Image.fromarray(array).save(options.folder / name / kind / f"{i:06}.png")


if __name__ == "__main__":
    main()
