"""Finding the images of a folder or tar, one folder a class, and checking them."""

import tarfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from timm.data.readers.img_extensions import IMG_EXTENSIONS
from timm.data.readers.reader_image_folder import find_images_and_targets
from timm.utils.misc import natural_key

from depthopt.errors import DataError
from depthopt.train.dataset import Preprocessing, Progress
from depthopt.train.folder import FolderSplit, ImageFile

_SPLITS = ("train", "val", "test")
_CHECKED_TOGETHER = 64

Index = dict[str, list[tuple[str, ImageFile]]]
"""Per split: (class name, image)."""


def read_folder(
    path: Path, preprocessing: Preprocessing, *, workers: int
) -> tuple[tuple[str, ...], FolderSplit, FolderSplit]:
    """Index ``path``, a folder or tar with ``train/CLASS/`` and ``val/CLASS/`` or ``test/CLASS/``.

    With both ``val/`` and ``test/``, ``val/`` is used: ImageNet's ``test/`` has no labels.

    Returns:
        Class names, the train split and the held-out split.

    Raises:
        DataError: a split is missing or empty, or the splits' classes differ.
    """
    if path.is_dir():
        found = _index_folder(path)
    elif path.is_file():
        found = _index_tar(path)
    else:
        raise DataError(f"{path} does not exist; name a folder or a tar of train/CLASS/IMAGE")
    held_out = "val" if "val" in found else "test"
    for split in ("train", held_out):
        if not found.get(split):
            wanted = "train/" if split == "train" else "val/ (or test/)"
            raise DataError(f"{path} holds no images under {wanted}; expected {wanted}CLASS/IMAGE")
    names = {split: {name for name, _ in found[split]} for split in ("train", held_out)}
    if names["train"] != names[held_out]:
        only = [
            f"{len(extra)} only in {split}/ ({', '.join(extra[:3])})"
            for split, other in (("train", held_out), (held_out, "train"))
            if (extra := sorted(names[split] - names[other]))
        ]
        raise DataError(f"classes of {path} differ between splits: {'; '.join(only)}")
    classes = _natural(names["train"])
    train, test = (
        FolderSplit(
            [file for _, file in found[split]],
            torch.tensor([classes.index(name) for name, _ in found[split]]),
            preprocessing,
            workers,
        )
        for split in ("train", held_out)
    )
    return tuple(classes), train, test


def check_images(files: Sequence[ImageFile], progress: Progress | None) -> None:
    """Decode every image once.

    Raises:
        DataError: some are damaged; the message names the first.
    """

    def damaged(chunk: Sequence[ImageFile]) -> list[str]:
        errors = []
        for file in chunk:
            try:
                file.read("RGB")
            except DataError as error:
                errors.append(str(error))
        return errors

    chunks = [files[i : i + _CHECKED_TOGETHER] for i in range(0, len(files), _CHECKED_TOGETHER)]
    errors: list[str] = []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for done, found in enumerate(pool.map(damaged, chunks), start=1):
            errors += found
            if progress:
                progress(min(done * _CHECKED_TOGETHER, len(files)), len(files), "checking images")
    if errors:
        more = f" ({len(errors)} damaged images in all)" if len(errors) > 1 else ""
        raise DataError(errors[0] + more)


def _index_folder(path: Path) -> Index:
    index: Index = {}
    for split in _SPLITS:
        root = path / split
        found, _ = find_images_and_targets(str(root))
        for name, _ in found:
            parts = Path(name).relative_to(root).parts
            if len(parts) > 1:
                index.setdefault(split, []).append((parts[0], ImageFile(name, name)))
    return index


def _index_tar(path: Path) -> Index:
    """Offsets into an uncompressed tar, so that workers read it at random."""
    index: Index = {}
    try:
        with tarfile.open(path, "r:") as tar:
            members = [
                m for m in tar if m.isfile() and Path(m.name).suffix.lower() in IMG_EXTENSIONS
            ]
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path} is not a whole, uncompressed tar ({error})") from None
    names: dict[str, tarfile.TarInfo] = {member.name: member for member in members}
    for name in _natural(names):
        member, parts = names[name], Path(name).parts
        at = next((i for i, part in enumerate(parts[:-2]) if part in _SPLITS), None)
        if at is not None:
            file = ImageFile(f"{path}:{name}", str(path), member.offset_data, member.size)
            index.setdefault(parts[at], []).append((parts[at + 1], file))
    return index


def _natural(names: Iterable[str]) -> list[str]:
    """In timm's order, which is also the order of the outputs of a model it trained."""
    return sorted(names, key=natural_key)
