"""The two built-in data sets: digits, which scikit-learn ships, and Fashion-MNIST."""

import gzip
import io
import math
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from depthopt.core import limits
from depthopt.core.clipped import one_line
from depthopt.core.reading import read_bytes
from depthopt.data.dataset import stratified
from depthopt.errors import DataError

DIGITS_MEAN, DIGITS_STD = 0.3053, 0.3759
FASHION_MEAN, FASHION_STD = 0.2860, 0.3530
"""Mean and standard deviation of all pixels, in 0..1."""

DIGITS_CLASSES = tuple("0123456789")
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

_DIGITS_TEST_IMAGES = 449
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_IDX_UBYTE = 0x08

Images = tuple[Tensor, Tensor]
"""Pixels ``(n, 1, height, width)`` uint8 and labels ``(n,)`` int64."""


def digits() -> tuple[Images, Images]:
    """1,797 handwritten digits, 8 x 8, as (train, test).

    They are the test set of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits
    (UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0), in the
    file that scikit-learn ships: a row is an image's 64 greys, in 0..16, and its label. The set
    has no split of its own: a quarter, the same in every run, is the test split.
    """
    with gzip.open(io.BytesIO((files("depthopt.data") / "digits.csv.gz").read_bytes())) as file:
        rows = np.array([line.split(b",") for line in file], np.int64)
    greys = rows[:, :64].reshape(-1, 1, 8, 8)
    pixels = torch.from_numpy(np.rint(greys * (255 / 16)).astype(np.uint8))
    labels = torch.from_numpy(rows[:, 64].copy())
    test, train = stratified(labels, _DIGITS_TEST_IMAGES, seed=0)
    return (pixels[train], labels[train]), (pixels[test], labels[test])


def fashion_mnist(root: Path | None) -> tuple[Images, Images]:
    """Fashion-MNIST (arXiv 1708.07747), 28 x 28, as (train, test).

    Args:
        root: where to look first: a folder with the four files, plain or gzipped, or
            torchvision's root. Then come Debian's package and torchvision's root ``data``.

    Raises:
        DataError: the files are nowhere, or one of them is damaged.
    """
    roots = [*([root] if root else []), _DEBIAN, Path("data")]
    folders = [folder for r in roots for folder in (r, r / "FashionMNIST" / "raw")]
    for folder in folders:
        if (train := _find(folder, "train")) and (test := _find(folder, "t10k")):
            return _pair(*train), _pair(*test)
    raise DataError(
        f"fashion_mnist is not in {', '.join(map(str, roots))}; get it with "
        '`apt-get install dataset-fashion-mnist`, or with `python -c "from torchvision.datasets '
        "import FashionMNIST as F; F('data', download=True)\"`"
    )


def _find(folder: Path, part: str) -> tuple[Path, Path] | None:
    """The files of images and of labels in ``folder``, if both are there."""
    found = [
        path
        for stem in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
        for path in (folder / stem, folder / f"{stem}.gz")
        if path.is_file()
    ]
    images = next((path for path in found if "images" in path.name), None)
    labels = next((path for path in found if "labels" in path.name), None)
    return (images, labels) if images and labels else None


def _pair(images: Path, labels: Path) -> Images:
    pixels, targets = _read_idx(images, 3), _read_idx(labels, 1)
    if len(pixels) != len(targets):
        raise DataError(f"{images} holds {len(pixels)} images, {labels} {len(targets)} labels")
    return torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(targets.astype(np.int64))


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of bytes (format: http://yann.lecun.com/exdb/mnist), plain or gzipped."""
    try:
        content = read_bytes(path, limits.IDX_BYTES)
        if path.suffix == ".gz":
            with gzip.open(io.BytesIO(content)) as file:
                content = file.read(limits.IDX_BYTES)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({one_line(error)}); download it again") from None
    head = 4 + 4 * dimensions
    magic, shape = content[:4], np.frombuffer(content[4:head].ljust(head - 4, b"\0"), ">u4")
    expected = math.prod(map(int, shape)) + head
    if magic != bytes([0, 0, _IDX_UBYTE, dimensions]) or len(content) != expected:
        raise DataError(
            f"{path} is not an IDX file of {dimensions} dimensions and {expected} bytes, "
            f"it has {len(content)}; download it again"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape).copy()
