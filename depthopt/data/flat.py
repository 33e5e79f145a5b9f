"""Folders of classes without a test split: which folders are classes, and what is tested."""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

from depthopt.core.counted import counted
from depthopt.errors import DataError

T = TypeVar("T")

TESTED = 5
"""One image in this many of a class is tested on, and at least one."""

LAYOUTS = "expected CLASS/IMAGE, or train/CLASS/IMAGE and val/CLASS/IMAGE (or test/)"
"""The layouts of folders and tars that are read, for messages."""

_TOLD = 3


def wrapping(holding: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """Outer folders that hold only one folder each, such as archives put around everything.

    Args:
        holding: the folders that hold images themselves, each as its way down from the top.
    """
    way: tuple[str, ...] = ()
    while len(nexts := {below[: len(way) + 1] for below in holding}) == 1:
        (deeper,) = nexts
        if deeper == way or deeper in holding:
            break
        way = deeper
    return way


def require_classes(holding: Collection[tuple[str, ...]], where: str) -> None:
    """Refuse folders whose images all lie deeper than in a class's folder.

    Args:
        holding: as for ``wrapping``; without the folders of which that tells.
        where: the data set, for the message.

    Raises:
        DataError: no folder at the top holds an image itself.
    """
    deeper = sorted(below for below in holding if below)
    if deeper and not any(len(below) == 1 for below in deeper):
        depths = sorted({len(below) for below in deeper})
        levels = str(depths[0]) if len(depths) == 1 else f"{depths[0]} to {depths[-1]}"
        raise DataError(
            f"{where} holds images only {levels} folders deep (such as {'/'.join(deeper[0])}/), "
            f"which shows no classes; {LAYOUTS}; name the folder that holds the classes' folders"
        )


def tested(
    images: Sequence[tuple[T, str]], names: Sequence[str], where: str
) -> tuple[frozenset[str], str]:
    """Choose the images to test on: about a fifth of each class, at least one.

    They are chosen by digests of their paths, so that neither the machine, nor the order of the
    files, nor the place where the folder lies makes a difference.

    Args:
        images: each its class, and its path from the folder of the classes on.
        names: of all classes.
        where: the data set, for messages.

    Returns:
        The paths of those that are tested on, and a remark about them.

    Raises:
        DataError: there are no images, there is one class, or a class has one image.
    """
    count = Counter(label for label, _ in images)
    if len(names) < 2:
        have = f"one class, {names[0]}, with {len(images)} images" if names else "no images"
        raise DataError(f"{where} has {have}; two classes or more are needed; {LAYOUTS}")
    if alone := [str(label) for label, number in count.items() if number == 1]:
        several = f"{len(alone)} classes" if len(alone) > 1 else "a class"
        raise DataError(
            f"{where} has {several} with a single image ({_some(alone)}; {len(images)} images in "
            "all); each needs one to train on and one to test on: add images, or give a folder "
            "with train/ and val/"
        )
    by_label = defaultdict(list)
    for label, path in images:
        by_label[label].append(path)
    chosen = frozenset(path for paths in by_label.values() for path in _first(paths))
    return chosen, (
        f"there is no val/ or test/: {len(chosen)} of {len(images)} images, about a fifth of each "
        "class, are tested on and not trained on"
    )


def held_back(paths: Sequence[str], where: str) -> frozenset[str]:
    """Choose the images to test on where there are no classes, likewise.

    Args:
        paths: of all images, from the data set's folder on.
        where: the data set, for the message.

    Raises:
        DataError: there are fewer than two.
    """
    if len(paths) < 2:
        raise DataError(
            f"{where} has {counted(len(paths), 'image')}; one is needed to train on and one to "
            "test on, at least"
        )
    return frozenset(_first(paths))


def _first(paths: Sequence[str]) -> Iterator[str]:
    """Those of the least digests."""
    yield from sorted(paths, key=_digest)[: max(1, round(len(paths) / TESTED))]


def _digest(path: str) -> bytes:
    """Of a path; systems write the same letters with accents in two ways."""
    return hashlib.sha256(
        unicodedata.normalize("NFC", path).encode(errors="surrogatepass")
    ).digest()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_TOLD]) + (", ..." if len(names) > _TOLD else "")
