"""Classify images in files with a saved network."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from depthopt.core.inputs import called, image_size
from depthopt.data.dataset import Preprocessing
from depthopt.data.decode import EXTENSIONS
from depthopt.data.images import ImageSplit
from depthopt.data.names import LeftOut, is_litter, why_left_out
from depthopt.data.stored import ImageFile
from depthopt.errors import ArtefactError, DataError, UsageError
from depthopt.export.saved import SavedModel, load, load_saved
from depthopt.models.memory import Original
from depthopt.tasks.registry import DEFAULT

logger = logging.getLogger(__name__)

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Prediction:
    """The classes that a network gives one image.

    Attributes:
        image: path of the file.
        classes: the likeliest first; numbers where the network's classes have no names.
        probabilities: of these, 0..1.
    """

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def predict(
    folder: Path, images: Sequence[Path], *, top: int = 5, model: Original | None = None
) -> tuple[Prediction, ...]:
    """Classify images with the preprocessing that the network was saved with.

    Args:
        folder: what ``save`` wrote.
        images: files, and folders, of which every image is taken, sorted by path.
        top: classes per image, at most as many as there are.
        model: the original, or what makes it, as ``load`` takes it.

    Raises:
        UsageError: it is not a classifier.
        ArtefactError: the folder is damaged, or does not say how images are normalised; or its
            outputs are not finite.
        DataError: there is no image, or one of them is missing or damaged.
    """
    saved = load_saved(folder)
    if saved.task != DEFAULT:
        raise UsageError(
            f"{folder} holds a network for the task {saved.task}, and predict names classes; load "
            "it with depthopt.load, and call it"
        )
    files = list(image_files(images))
    split = ImageSplit(
        [ImageFile(str(path), str(path)) for path in files],
        None,
        _preprocessing(saved, folder),
        workers=0,
    )
    network = load(folder, model)
    with torch.no_grad():
        logits = torch.cat([called(network, pixels) for pixels, _ in split.batches(_BATCH)])
    for path, row in zip(files, logits, strict=True):
        if not row.isfinite().all():
            raise ArtefactError(
                f"{folder} gives NaN or infinite outputs for {path}; its weights are damaged, or "
                "its numbers too large for their type: save it again"
            )
    if saved.class_names and len(saved.class_names) != logits.shape[1]:
        raise ArtefactError(
            f"{folder / 'model.json'} names {len(saved.class_names)} classes, the network has "
            f"{logits.shape[1]} outputs; save the network again"
        )
    names = saved.class_names or tuple(map(str, range(logits.shape[1])))
    found = logits.softmax(1).topk(min(top, len(names)))
    return tuple(
        Prediction(str(path), tuple(names[i] for i in indices), tuple(values))
        for path, indices, values in zip(
            files, found.indices.tolist(), found.values.tolist(), strict=True
        )
    )


def image_files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files among ``paths``, and every image below the folders among them.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
    """
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise DataError(f"{path} does not exist")
            yield path
        else:
            yield from _below(path)


def _below(folder: Path) -> list[Path]:
    left, inside = LeftOut(), []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or is_litter(path.name):
            continue
        within = ("x", *path.relative_to(folder).parts[:-1])  # the folder itself may be hidden
        why = why_left_out(within, path.name) if path.is_file() else "broken links"
        if why is None:
            inside.append(path)
        else:
            left.add(why, str(path))
    remarks = "; ".join(left.remarks())
    if not inside:
        raise DataError(f"{folder} holds no images ({remarks or ', '.join(sorted(EXTENSIONS))})")
    if remarks:
        logger.warning("%s: %s", folder, remarks)
    return inside


def _preprocessing(saved: SavedModel, folder: Path) -> Preprocessing:
    if not (saved.mean and saved.std):
        raise ArtefactError(
            f"{folder / 'model.json'} does not say how images are normalised; save the network "
            "with its mean and std"
        )
    channels = image_size(saved.input_size)[0]
    if not len(saved.mean) == len(saved.std) == channels:
        raise ArtefactError(
            f"{folder / 'model.json'} has {len(saved.mean)} means and {len(saved.std)} deviations "
            f"for {channels} channels; save the network again"
        )
    return Preprocessing(
        image_size(saved.input_size), saved.mean, saved.std, saved.interpolation, saved.crop_pct
    )
