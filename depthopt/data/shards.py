"""Shards as webdataset writes them: tars of ``KEY.jpg`` and ``KEY.cls``, read at random.

https://github.com/webdataset/webdataset#the-webdataset-format ; timm's ``wds/`` reads the
same, but only from one end to the other, so that a stopped training could not go on exactly.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from timm.data.readers.img_extensions import IMG_EXTENSIONS

from depthopt.data.images import ImageFile, StoredImage
from depthopt.data.index import Index, natural
from depthopt.errors import DataError

_NAMED = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_CLASSES = ("classnames.txt", "classes.txt")


def index_shards(folder: Path) -> Index:
    """Index the shards in ``folder``, each of the split that its name tells.

    Classes are named by ``classnames.txt``, one a line, if there is one, else by number.

    Args:
        folder: of uncompressed tars such as ``imagenet-train-0000.tar``.

    Raises:
        DataError: there are no shards, one is damaged, or an image has no class.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist; name a folder of shards such as x-train-00.tar")
    images: dict[str, list[tuple[int, StoredImage]]] = {}
    for name in natural(path.name for path in folder.glob("*.tar")):
        split = _split_of(name)
        if split is not None:
            images.setdefault(split, []).extend(_in_shard(folder / name))
    if not images:
        raise DataError(f"{folder} holds no tar with train, val or test in its name")
    most = max(label for found in images.values() for label, _ in found)
    return Index(_class_names(folder, most + 1), images)


def _split_of(name: str) -> str | None:
    words = name.lower().replace("_", "-").removesuffix(".tar").split("-")
    return next((split for split, names in _NAMED.items() if set(names) & set(words)), None)


def _in_shard(path: Path) -> Iterator[tuple[int, StoredImage]]:
    """The images of one shard, in its order."""
    images: dict[str, ImageFile] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, kind = member.name.rpartition(".")
                if f".{kind.lower()}" in IMG_EXTENSIONS:
                    images[key] = ImageFile(
                        f"{path}:{member.name}", str(path), member.offset_data, member.size
                    )
                elif kind == "cls" and (content := tar.extractfile(member)):
                    labels[key] = int(content.read())
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DataError(f"{path} is not a whole, uncompressed shard ({error})") from None
    for key, image in images.items():
        if labels.get(key, -1) < 0:
            raise DataError(f"{image.name} has no class; expected a number in {key}.cls beside it")
        yield labels[key], image


def _class_names(folder: Path, classes: int) -> tuple[str, ...]:
    for path in (folder / name for name in _CLASSES):
        if path.is_file():
            names = tuple(path.read_text().splitlines())
            if len(names) < classes:
                raise DataError(f"{path} names {len(names)} classes, the shards have {classes}")
            return names
    return tuple(map(str, range(classes)))
