"""Shards as webdataset writes them: tars of ``KEY.jpg`` and ``KEY.cls``, read in any order.

https://github.com/webdataset/webdataset#the-webdataset-format ; timm's ``wds/`` reads the
same, but only from one end to the other, so that a stopped training could not go on exactly.
"""

from collections.abc import Iterator
from pathlib import Path

from depthopt.core import limits, numbers
from depthopt.core.clipped import clipped, one_line
from depthopt.core.reading import read_text
from depthopt.data.decode import EXTENSIONS
from depthopt.data.index import Index
from depthopt.data.names import LeftOut, extension, is_litter, is_shard, natural, split_of
from depthopt.data.stored import ImageFile, StoredImage
from depthopt.data.tars import members
from depthopt.errors import DataError

_CLASSES = ("classnames.txt", "classes.txt")


def index_shards(folder: Path) -> Index:
    """Index the shards in ``folder``. Each shard's name tells its split.

    Classes are named by ``classnames.txt``, one a line, if there is one, else by number.

    Args:
        folder: of uncompressed tars such as ``imagenet-train-0000.tar``.

    Raises:
        DataError: there are no shards, one is damaged, or an image has no class.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist; name a folder of shards such as x-train-00.tar")
    images: dict[str, list[tuple[int, StoredImage]]] = {}
    left = LeftOut()
    for name in natural(path.name for path in folder.iterdir() if path.is_file()):
        if is_shard(name) and (split := split_of(name)) is not None:
            images.setdefault(split, []).extend(_in_shard(folder / name, left))
        elif name not in _CLASSES and not is_litter(name):
            left.add(_why_no_shard(name), name)
    if not images:
        raise DataError(f"{folder} holds no tar with train, val or test in its name")
    most = max(label for found in images.values() for label, _ in found)
    return Index(_class_names(folder, most + 1), images, tuple(left.remarks()))


def _why_no_shard(name: str) -> str:
    kind = extension(name)
    if kind == ".tar":
        return "shards without train, val or test in their names"
    return f"{kind} files" if kind else "without an extension"


def _in_shard(path: Path, left: LeftOut) -> Iterator[tuple[int, StoredImage]]:
    """The images of one shard, in its order; examples without one are added to ``left``."""
    images: dict[str, ImageFile] = {}
    labels: dict[str, int] = {}
    others: dict[str, str] = {}
    for member, tar in members(path):
        name = member.name.rpartition("/")[2]
        if not member.isfile() or is_litter(name):
            continue
        key, _, kind = member.name.rpartition(".")
        where = f"{path}:{member.name}"
        if f".{kind.lower()}" in EXTENSIONS:
            if key in images:
                raise DataError(f"{where} is a second image of {key}; keep one of them")
            images[key] = ImageFile(where, str(path), member.offset_data, member.size)
        elif kind == "cls" and (content := tar.extractfile(member)):
            labels[key] = _label(content.read(limits.LABEL_BYTES), where)
        else:
            others[key] = member.name
    for key in labels.keys() - images.keys():
        name = others.get(key, f"{key}.cls")
        left.add(f"{extension(name)} files with a class but no image", f"{path}:{name}")
    for key, image in images.items():
        if labels.get(key, -1) < 0:
            raise DataError(f"{image.name} has no class; expected a number in {key}.cls beside it")
        yield labels[key], image


def _label(content: bytes, where: str) -> int:
    """The number of a class, as a ``.cls`` file has it."""
    text = content.decode("ascii", "replace").strip()
    label = numbers.whole(text)
    if text.startswith("-") and numbers.whole(text[1:]) is not None:
        return -1
    if label is None or label >= limits.LABELS:
        raise DataError(
            f"{where} holds {clipped(text)}, expected the number of a class, below "
            f"{limits.LABELS:,}"
        )
    return label


def _class_names(folder: Path, classes: int) -> tuple[str, ...]:
    for path in (folder / name for name in _CLASSES):
        if path.is_file():
            try:
                names = tuple(read_text(path, limits.NAMES_BYTES).splitlines())
            except (OSError, ValueError) as error:
                raise DataError(f"{path} cannot be read ({one_line(error)})") from None
            if len(names) < classes:
                raise DataError(f"{path} names {len(names)} classes, the shards have {classes}")
            return names
    return tuple(map(str, range(classes)))
