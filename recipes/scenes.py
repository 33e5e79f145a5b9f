"""Write scenes with masks: pieces of Fashion-MNIST on coloured ground, whose masks are known.

    python recipes/scenes.py data/scenes

The same arguments write the same files. Class 0 is the ground; the pieces of clothing follow in
Fashion-MNIST's order.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from depthopt.data.builtin import FASHION_CLASSES, Images, fashion_mnist

SIDE, PIECES, SEEN = 64, 4, 40
"""Pixels of a scene's side, the most pieces in it, and how bright a pixel of a piece is at least.
"""


Piece = tuple[int, tuple[int, int, int, int]]
"""A piece of clothing: its class, and the left, top, right and bottom of its pixels."""


def scene(
    images: Images, generator: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[Piece]]:
    """A scene (rows, columns, 3), its mask (rows, columns), and its pieces, the last in front."""
    pixels, labels = images
    ground = generator.uniform(0, 160, (4, 4, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(ground).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    picture = picture.astype(np.float64) + generator.normal(0, 12, picture.shape)
    mask, pieces = np.zeros((SIDE, SIDE), np.uint8), list[Piece]()
    for _ in range(generator.integers(1, PIECES + 1)):
        which, side = int(generator.integers(len(labels))), int(generator.integers(22, 45))
        top, left = generator.integers(0, SIDE - side, 2)
        grey = Image.fromarray(pixels[which, 0].numpy()).resize((side, side))
        piece = np.asarray(grey)[..., None] * generator.uniform(0.4, 1, 3)
        seen = np.asarray(grey) > SEEN
        place = np.s_[top : top + side, left : left + side]
        picture[place] = np.where(seen[..., None], piece, picture[place])
        label = int(labels[which]) + 1
        mask[place] = np.where(seen, label, mask[place])
        rows, columns = seen.any(1).nonzero()[0] + top, seen.any(0).nonzero()[0] + left
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        pieces.append((label, box))
    return np.clip(picture, 0, 255).astype(np.uint8), mask, pieces


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=3000, help="scenes to train on")
    parser.add_argument("--val", type=int, default=600, help="scenes to test on")
    parser.add_argument("--root", type=Path, help="where Fashion-MNIST is")
    options = parser.parse_args()
    sources = fashion_mnist(options.root)
    for split, images, count in zip(
        ("train", "val"), sources, (options.train, options.val), strict=True
    ):
        generator = np.random.default_rng(len(split))
        for kind in ("images", "masks"):
            (options.folder / split / kind).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture, mask, _ = scene(images, generator)
            for kind, array in (("images", picture), ("masks", mask)):
                Image.fromarray(array).save(options.folder / split / kind / f"{i:05}.png")
    names = ["ground", *(name.replace("/", " or ") for name in FASHION_CLASSES)]
    (options.folder / "classnames.txt").write_text("\n".join(names) + "\n")


if __name__ == "__main__":
    main()
