"""Which images a data set on disk holds, of which class and for which split."""

import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from timm.data.readers.img_extensions import IMG_EXTENSIONS
from timm.data.readers.reader_image_folder import find_images_and_targets
from timm.utils.misc import natural_key

from depthopt.data.images import ImageFile, StoredImage
from depthopt.errors import DataError

SPLITS = ("train", "val", "test")
"""As folders are called."""

HELD_OUT = ("val", "test")
"""What is tested on: the first of these that there is. ImageNet's ``test`` has no labels."""


@dataclass(frozen=True, slots=True)
class Index:
    """The labelled images of a data set.

    Attributes:
        classes: names, in the order of the labels.
        images: per split, each image with its label.
    """

    classes: tuple[str, ...]
    images: Mapping[str, Sequence[tuple[int, StoredImage]]]


Found = dict[str, list[tuple[str, StoredImage]]]
"""Per split: (class name, image)."""


def index_folder(path: Path) -> Index:
    """Index ``path``, a folder or tar with ``train/CLASS/`` and ``val/CLASS/`` or ``test/CLASS/``.

    Raises:
        DataError: there is no such folder or tar, or it holds no images for a split.
    """
    if path.is_dir():
        found = _in_folder(path)
    elif path.is_file():
        found = _in_tar(path)
    else:
        raise DataError(f"{path} does not exist; name a folder or a tar of train/CLASS/IMAGE")
    if "val" in found:
        found.pop("test", None)
    classes = natural({name for images in found.values() for name, _ in images})
    label = {name: i for i, name in enumerate(classes)}
    return Index(
        tuple(classes),
        {split: [(label[name], image) for name, image in found[split]] for split in found},
    )


def checked(index: Index, where: str) -> str:
    """The split to test on.

    Args:
        index: of a data set.
        where: the data set, for messages.

    Raises:
        DataError: a split is missing or empty, or the splits' classes differ.
    """
    held_out = next((split for split in HELD_OUT if index.images.get(split)), None)
    if not index.images.get("train") or held_out is None:
        wanted = "val/ (or test/)" if index.images.get("train") else "train/"
        raise DataError(f"{where} holds no images under {wanted}; expected {wanted}CLASS/IMAGE")
    seen = {split: {label for label, _ in index.images[split]} for split in ("train", held_out)}
    if seen["train"] != seen[held_out]:
        only = [
            f"{len(extra)} only in {split}/ ({', '.join(index.classes[i] for i in extra[:3])})"
            for split, other in (("train", held_out), (held_out, "train"))
            if (extra := sorted(seen[split] - seen[other]))
        ]
        raise DataError(f"classes of {where} differ between splits: {'; '.join(only)}")
    return held_out


def _in_folder(path: Path) -> Found:
    index: Found = {}
    for split in SPLITS:
        root = path / split
        found, _ = find_images_and_targets(str(root))
        for name, _ in found:
            parts = Path(name).relative_to(root).parts
            if len(parts) > 1:
                index.setdefault(split, []).append((parts[0], ImageFile(name, name)))
    return index


def _in_tar(path: Path) -> Found:
    """Offsets into an uncompressed tar, so that workers read it at random."""
    index: Found = {}
    try:
        with tarfile.open(path, "r:") as tar:
            members = [
                m for m in tar if m.isfile() and Path(m.name).suffix.lower() in IMG_EXTENSIONS
            ]
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path} is not a whole, uncompressed tar ({error})") from None
    names: dict[str, tarfile.TarInfo] = {member.name: member for member in members}
    for name in natural(names):
        member, parts = names[name], Path(name).parts
        at = next((i for i, part in enumerate(parts[:-2]) if part in SPLITS), None)
        if at is not None:
            file = ImageFile(f"{path}:{name}", str(path), member.offset_data, member.size)
            index.setdefault(parts[at], []).append((parts[at + 1], file))
    return index


def natural(names: Iterable[str]) -> list[str]:
    """In timm's order, which is also the order of the outputs of a model it trained."""
    return sorted(names, key=natural_key)
