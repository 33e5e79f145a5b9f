"""Index a folder of images and of images that are their targets, of equal names."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from depthopt.core import limits
from depthopt.core.counted import counted
from depthopt.core.reading import read_bytes
from depthopt.data.decode import decode_mask
from depthopt.data.flat import held_back
from depthopt.data.index import HELD_OUT, SPLITS, Index, folders_in
from depthopt.data.names import LeftOut, is_hidden, is_litter, natural_key, why_left_out
from depthopt.data.stored import ImageFile, ImagePair
from depthopt.errors import DataError

IMAGES = "images"
"""Folder of the images."""

MASKS, TARGETS = "masks", "targets"
"""Folders of the images that are targets: of each pixel the class's number, or any others."""

CLASSES = "classnames.txt"
"""File of the names of the classes that masks have the numbers of, a line each."""

IGNORED = 255
"""Number of a mask's pixels that count for nothing."""


def index_pairs(path: Path, targets: str) -> Index:
    """Index a folder with ``images/`` and ``masks/``, or ``targets/``.

    A pair has one name in both, whatever the extensions, and lies in folders of the same names.
    ``train`` and ``val`` or ``test`` are around the two, or within them. Where there is neither
    ``val`` nor ``test``, a fifth is tested on, always the same.

    Args:
        path: of the folder.
        targets: ``masks`` or ``targets``.

    Raises:
        DataError: there is no such folder, or it has too few pairs.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder; name one with {IMAGES}/ and {targets}/")
    left, own = LeftOut(), (IMAGES, targets)
    found: dict[tuple[str, str], dict[tuple[str, ...], ImageFile]] = {}
    for below, files in folders_in(path):
        split = next((part for part in below if part in SPLITS), "train")
        folder = next((part for part in below if part in own), "")
        if not folder or any(is_hidden(part) for part in below):
            continue
        inner = tuple(part for part in below if part not in {split, folder})
        for whole, file in files.items():
            name = whole.rpartition("/")[2]
            if is_litter(name):
                continue
            if (why := why_left_out(("",), name)) is not None:
                left.add(why, whole)
                continue
            stem = name.rpartition(".")[0]
            kept = found.setdefault((split, folder), {})
            if (*inner, stem) in kept:
                raise DataError(f"{whole} and {kept[*inner, stem].name} have the same name")
            kept[*inner, stem] = file
    pairs, remarks = _paired(found, targets, str(path))
    if not any(split in pairs for split in HELD_OUT):
        pairs, remark = _divided(pairs.get("train", {}), str(path))
        remarks.append(remark)
    images = {split: _listed(own, is_mask=targets == MASKS) for split, own in pairs.items()}
    return Index((), images, (*left.remarks(), *remarks))


_Pairs = Mapping[tuple[str, ...], tuple[ImageFile, ImageFile]]


def _paired(
    found: Mapping[tuple[str, str], Mapping[tuple[str, ...], ImageFile]], targets: str, where: str
) -> tuple[dict[str, _Pairs], list[str]]:
    """The pairs of each split, and remarks on what has no other half.

    Raises:
        DataError: there are none.
    """
    pairs, remarks = dict[str, _Pairs](), list[str]()
    for split in SPLITS:
        images, others = (found.get((split, folder), {}) for folder in (IMAGES, targets))
        for folder, alone in ((IMAGES, {*images} - {*others}), (targets, {*others} - {*images})):
            if alone:
                first = "/".join(min(alone))
                remarks.append(
                    f"{counted(len(alone), 'file')} of {folder}/ in {split} without a partner "
                    f"of the same name, left out (first: {first})"
                )
        if both := {*images} & {*others}:
            pairs[split] = {key: (images[key], others[key]) for key in both}
    if not pairs:
        said = f" ({'; '.join(remarks)})" if remarks else ""
        raise DataError(
            f"{where} holds no pairs{said}; expected {IMAGES}/NAME.png and {targets}/NAME.png"
        )
    return pairs, remarks


def _divided(pairs: _Pairs, where: str) -> tuple[dict[str, _Pairs], str]:
    chosen = held_back(["/".join(key) for key in pairs], where)
    parts: dict[str, _Pairs] = {
        "train": {k: pair for k, pair in pairs.items() if "/".join(k) not in chosen},
        "test": {k: pair for k, pair in pairs.items() if "/".join(k) in chosen},
    }
    return parts, f"there is no val/ or test/: {len(chosen)} of {len(pairs)} pairs are tested on"


def _listed(pairs: _Pairs, *, is_mask: bool) -> Sequence[tuple[int, ImagePair]]:
    ordered = sorted(pairs, key=lambda key: natural_key("/".join(key)))
    return [(0, ImagePair(*pairs[key], is_mask)) for key in ordered]


def holds_pairs(path: Path, targets: str) -> bool:
    """Whether a folder looks like one of images and of targets in a folder of this name."""
    return any(
        all((path / around / name).is_dir() for name in (IMAGES, targets))
        for around in ("", "train")
    )


def classes_of_masks(path: Path, index: Index) -> tuple[str, ...]:
    """The names of the classes: the lines of ``classnames.txt``, or else their numbers.

    Without that file all masks are read, for the largest number in them.

    Args:
        path: of the folder.
        index: its pairs.

    Raises:
        DataError: the file names no class, or one twice.
    """
    file = path / CLASSES
    if file.is_file():
        content = read_bytes(file, limits.NAMES_BYTES).decode(errors="replace")
        names = tuple(line.strip() for line in content.splitlines() if line.strip())
        if len(names) < 2 or len({*names}) < len(names):
            raise DataError(
                f"{file} names {len({*names})} classes in {len(names)} lines; expected "
                "two or more, a line each"
            )
        return names
    masks = [
        pair.target
        for own in index.images.values()
        for _, pair in own
        if isinstance(pair, ImagePair)
    ]
    with ThreadPoolExecutor() as pool:
        most = max(pool.map(_largest, masks))
    return tuple(map(str, range(most + 1)))


def _largest(mask: ImageFile) -> int:
    """The largest number of a class in a mask; 0 of a damaged one, which reading it tells."""
    try:
        numbers = np.asarray(decode_mask(mask.content(), mask.name))
    except DataError:
        return 0
    return int(numbers[numbers != IGNORED].max(initial=0))
