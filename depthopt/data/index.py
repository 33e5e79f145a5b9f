"""Index a data set on disk: its images, their classes and their splits."""

import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from depthopt.data.flat import LAYOUTS, held_back, require_classes, tested, wrapping
from depthopt.data.names import (
    LeftOut,
    is_hidden,
    is_litter,
    natural,
    natural_key,
    ties,
    why_left_out,
)
from depthopt.data.stored import ImageFile, StoredImage
from depthopt.data.tars import members
from depthopt.errors import DataError

SPLITS = ("train", "val", "test")
"""Names of the splits' folders."""

HELD_OUT = ("val", "test")
"""Splits to test on: the first one that exists. ImageNet's ``test`` has no labels."""


_LINKS = 8
"""How many links to links within a tar are followed."""


@dataclass(frozen=True, slots=True)
class Index:
    """The labelled images of a data set.

    Attributes:
        classes: names, in the order of the labels.
        images: per split, each image with its label.
        remarks: what the user should know of what was found, and what was not taken.
    """

    classes: tuple[str, ...]
    images: Mapping[str, Sequence[tuple[int, StoredImage]]]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Folder:
    """What lies in one folder of a split, subfolders apart.

    Attributes:
        split: ``train``, ``val`` or ``test``; empty where the data set has none of them.
        below: folders from the split's down to this one; the first is of a class.
        files: each by the whole name that orders it.
        broken: whole names of links that lead nowhere.
    """

    split: str
    below: tuple[str, ...]
    files: Mapping[str, ImageFile]
    broken: Sequence[str] = ()


def index_folder(path: Path) -> Index:
    """Index ``path``, a folder or tar with ``train/CLASS/`` and ``val/CLASS/`` or ``test/CLASS/``.

    Files in folders below a class's are of that class, as torchvision has it. Where there is
    neither ``val/`` nor ``test/``, a part of each class is tested on, always the same. Without
    ``train/`` too, the folders of the classes are those at the top.

    Raises:
        DataError: there is no such folder or tar, or its folders tell no classes, or they hold too
            little to divide.
    """
    folders, remark = _folders(path, "a folder or a tar of train/CLASS/IMAGE"), ""
    if not any(folder.split for folder in folders):
        folders, remark = _with_splits(folders, str(path))
    index = _index(folders)
    if {folder.split for folder in folders} == {"train"}:
        index = _divided(index, folders, str(path))
    return replace(index, remarks=(*index.remarks, remark)) if remark else index


def index_images(path: Path) -> Index:
    """Index all images below ``path``, a folder or tar, without classes: each has the label 0.

    Those below ``train/`` and below ``val/`` or ``test/`` are of these splits. Where there is no
    ``train/``, all are, and where one of the two is missing, a part is tested on, always the same.

    Raises:
        DataError: there is no such folder or tar, or it holds too few images.
    """
    folders = [
        replace(folder, split=folder.split or "train", below=(_hidden(folder.below),))
        for folder in _folders(path, "a folder or a tar of images")
    ]
    index = replace(_index(folders), classes=())
    images = index.images.get("train", ())
    if not images and index.images:
        raise DataError(f"{path} holds no images below train/, and some below {max(index.images)}/")
    if any(split in index.images for split in HELD_OUT):
        return index
    below = {image.name: image.name[len(str(path)) + 1 :] for _, image in images}
    chosen = held_back(list(below.values()), str(path))
    parts: dict[str, list[tuple[int, StoredImage]]] = {"train": [], "test": []}
    for label, image in images:
        parts["test" if below[image.name] in chosen else "train"].append((label, image))
    remark = f"there is no val/ or test/: {len(chosen)} of {len(images)} images are tested on"
    return Index((), parts, (*index.remarks, remark))


def _hidden(folders: Sequence[str]) -> str:
    """The first hidden one of some folders; empty if none is."""
    return next((folder for folder in folders if is_hidden(folder)), "")


def _folders(path: Path, expected: str) -> list[_Folder]:
    """The folders of a folder or a tar: those of splits, or where there are none of these, all.

    Raises:
        DataError: there is no such folder or tar.
    """
    if path.is_dir():
        split = [folder for split in SPLITS for folder in _in_folder(path / split, split)]
        return split or list(_in_folder(path, ""))
    if path.is_file():
        return _in_tar(path)
    raise DataError(f"{path} does not exist; name {expected}")


def _with_splits(folders: Sequence[_Folder], where: str) -> tuple[list[_Folder], str]:
    """The folders of a data set without splits at the top, as of ``train/`` or of those further in.

    Also a remark, where folders are around all others.
    """
    holding = {folder.below for folder in folders if _holds_images(folder)}
    around = wrapping(holding)
    deep, where_inside = len(around), "/".join(around)
    inner = [replace(f, below=f.below[deep:]) for f in folders if f.below[:deep] == around]
    own = [
        replace(folder, split=folder.below[0], below=folder.below[1:])
        for folder in inner
        if around and folder.below and folder.below[0] in SPLITS
    ]
    if own:
        return own, f"its splits are the folders in {where_inside}/"
    require_classes({below[deep:] for below in holding}, where)
    remark = f"its classes are the folders in {where_inside}/" if around else ""
    return [replace(folder, split="train") for folder in inner], remark


def _holds_images(folder: _Folder) -> bool:
    """Whether there are images in a folder itself, were it one of a class."""
    names = (whole.rpartition("/")[2] for whole in folder.files)
    below = folder.below or ("",)
    return any(why_left_out(below, name) is None for name in names if not is_litter(name))


def _divided(index: Index, folders: Sequence[_Folder], where: str) -> Index:
    """The images of ``train``, some of them for ``test``.

    Args:
        index: of the folders.
        folders: all of one split.
        where: the data set, for messages.
    """
    images = index.images.get("train", ())
    if not images:
        said = f" ({'; '.join(index.remarks)})" if index.remarks else ""
        raise DataError(f"{where} holds no images in a class's folder{said}; {LAYOUTS}")
    inside = {whole: "/".join(folder.below) for folder in folders for whole in folder.files}
    paths = [
        f"{inside[image.name]}/{image.name.rpartition('/')[2]}" for _, image in images
    ]  # from the folder of the classes on
    labels = [index.classes[label] for label, _ in images]
    chosen, remark = tested(list(zip(labels, paths, strict=True)), index.classes, where)
    parts: dict[str, list[tuple[int, StoredImage]]] = {"train": [], "test": []}
    for image, path in zip(images, paths, strict=True):
        parts["test" if path in chosen else "train"].append(image)
    return Index(index.classes, parts, (*index.remarks, remark))


def _index(folders: Sequence[_Folder]) -> Index:
    """The images of all folders that are of a class, and remarks on the others."""
    left, nested, empty = LeftOut(), list[str](), set[str]()
    found: dict[str, list[tuple[str, str, ImageFile]]] = {}
    for split in SPLITS:
        if split == "test" and found.get("val"):
            break
        own = [folder for folder in folders if folder.split == split]
        images = []
        for folder in own:
            taken = _taken(folder, left)
            images += [(whole, folder.below[0], file) for whole, file in taken.items()]
            nested += taken if len(folder.below) > 1 else ()
        if images:
            found[split] = sorted(images, key=lambda image: natural_key(image[0]))
        empty |= {f.below[0] for f in own if f.below and not is_hidden(f.below[0])}
    classes = natural({name for images in found.values() for _, name, _ in images})
    label = {name: i for i, name in enumerate(classes)}
    return Index(
        tuple(classes),
        {split: [(label[name], file) for _, name, file in found[split]] for split in found},
        (*left.remarks(), *_of_classes(classes, empty - {*classes}, nested)),
    )


def _taken(folder: _Folder, left: LeftOut) -> dict[str, ImageFile]:
    """The images of a folder; other files are added to ``left``."""
    for name in folder.broken:
        left.add("broken links", name)
    taken = {}
    for whole, file in folder.files.items():
        name = whole.rpartition("/")[2]
        if is_litter(name):
            continue
        why = why_left_out(folder.below, name)
        if why is None:
            taken[whole] = file
        else:
            left.add(why, whole)
    return taken


def _of_classes(classes: Sequence[str], empty: set[str], nested: Sequence[str]) -> Iterator[str]:
    """What may not be as the user thinks it is."""
    if empty:
        yield f"folders without an image are not classes: {', '.join(natural(empty))}"
    if nested:
        yield (
            f"{len(nested)} images in folders below a class's count as of that class "
            f"(such as {min(nested)})"
        )
    alike = ties(classes)
    if alike:
        pairs = ", ".join(f"{first} before {second}" for first, second in alike)
        yield (
            f"names of classes are alike but for capitals or zeros, and sorted by code points: "
            f"{pairs}; a network that was trained elsewhere may have them the other way round"
        )


def checked(index: Index, where: str) -> str:
    """Check that the splits fit, and return the one to test on.

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


def folders_in(root: Path) -> Iterator[tuple[tuple[str, ...], Mapping[str, ImageFile]]]:
    """All folders below one: the folders from there down to it, and its files by whole name."""
    return ((folder.below, folder.files) for folder in _in_folder(root, ""))


def _in_folder(root: Path, split: str) -> Iterator[_Folder]:
    """The folders of a split, links followed, but not to a folder that one is in."""

    def walk(folder: str, below: tuple[str, ...], above: tuple[Any, ...]) -> Iterator[_Folder]:
        files, broken = dict[str, ImageFile](), list[str]()
        for entry in _listed(folder):
            whole = f"{folder}/{entry.name}"
            # An entry's own methods raise an error of a link that leads to itself.
            known: Any = Path(whole) if entry.is_symlink() else entry
            if known.is_dir():
                place = Path(whole).stat()
                at = place.st_dev, place.st_ino
                if at not in above:
                    yield from walk(whole, (*below, entry.name), (*above, at))
            elif known.is_file():
                files[whole] = ImageFile(whole, whole)
            elif not is_litter(entry.name):
                broken.append(whole)
        yield _Folder(split, below, files, broken)

    return walk(str(root), (), ()) if root.is_dir() else iter(())


def _listed(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror})") from None


def _in_tar(path: Path) -> list[_Folder]:
    """Offsets into an uncompressed tar, so that workers read it at random.

    Where no folder is of a split, all are given.
    """
    within_it = {posixpath.normpath(member.name): member for member, _ in members(path)}
    folders: dict[tuple[str, tuple[str, ...]], tuple[dict[str, ImageFile], list[str]]] = {}
    for name, member in within_it.items():
        parts = PurePosixPath(name).parts
        within = parts if member.isdir() else parts[:-1]
        at = next((i for i, part in enumerate(within) if part in SPLITS), None)
        if at is not None and any(is_hidden(part) for part in parts[:at]):
            continue
        place = ("", within) if at is None else (parts[at], within[at + 1 :])
        files, broken = folders.setdefault(place, ({}, []))
        if member.isdir():
            continue
        target = _target(member, within_it)
        if target is None:
            broken.append(name)
            continue
        where = f"{path}:{name}"
        files[where] = ImageFile(where, str(path), target.offset_data, target.size)
    every = [_Folder(split, below, *found) for (split, below), found in folders.items()]
    return [folder for folder in every if folder.split] or every


def _target(
    member: tarfile.TarInfo, within_it: Mapping[str, tarfile.TarInfo]
) -> tarfile.TarInfo | None:
    """The member whose bytes a file or a link has; None if there is none in the tar."""
    for _ in range(_LINKS):
        if member.isfile():
            return member
        folder = posixpath.dirname(member.name) if member.issym() else ""
        name = posixpath.normpath(posixpath.join(folder, member.linkname))
        if not (member.issym() or member.islnk()) or name not in within_it:
            return None
        member = within_it[name]
    return None
