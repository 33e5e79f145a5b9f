"""Load a data set by its name, as three splits."""

import difflib
import re
from pathlib import Path

from depthopt.core.inputs import InputSize
from depthopt.core.interpolation import Interpolation
from depthopt.core.numbers import (
    CountOrZero,
    Finite,
    Positive,
    Seed,
    ShareAboveZero,
    ThreadsOrZero,
    require,
)
from depthopt.core.progress import Progress, silent
from depthopt.data.dataset import MOST_HELD_OUT, Dataset
from depthopt.data.forms import DATA, FORMS, is_source, known_forms
from depthopt.data.source import DataSource, Request
from depthopt.errors import DataError


def load_dataset(
    source: str,
    *,
    input_size: InputSize,
    calibration_images: int | None = None,
    seed: int = 0,
    root: Path | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    interpolation: Interpolation = "bilinear",
    crop_pct: float = 1.0,
    workers: int = 2,
    check: bool = True,
    skip_damaged: bool = False,
    progress: Progress = silent,
) -> Dataset:
    """Find, check and split a data set.

    Args:
        source: ``digits`` (scikit-learn), ``fashion_mnist`` (Debian's package or
            torchvision's files), ``folder:PATH``, a folder or uncompressed tar of
            ``train/CLASS/IMAGE`` and ``val/CLASS/IMAGE`` (or ``test/``), or of ``CLASS/IMAGE``
            alone (``docs/guides/your-data.md``), ``images:PATH``, all images below a folder or in
            a tar, without classes, ``masks:PATH`` and ``pairs:PATH``, folders with ``images/`` and
            ``masks/`` or ``targets/`` (``docs/guides/pixels.md``), ``wds/PATH``, a folder of
            webdataset's shards, or, as timm names them, ``hfds/NAME`` of Hugging Face's hub and
            ``torch/NAME`` of torchvision; or what another package brings
            (``docs/guides/extending.md``).
        input_size: (channels, height, width); 1 channel is grey, 3 are RGB. Of a source for
            several inputs, these.
        calibration_images: held out from train, each class in proportion; None holds out 512, or
            a fifth where that is less.
        seed: of the choice of calibration images. The test split never depends on it.
        root: where files are searched first, what a path is relative to, and where the hub's
            downloads are kept.
        mean: per channel, of pixels in 0..1; by default the data set's own, and
            ImageNet's for folders.
        std: as ``mean``.
        interpolation: ``bilinear`` or ``bicubic``.
        crop_pct: share of the resized image's side that evaluation keeps (files only).
        workers: processes that decode images (files only).
        check: decode every image once, before anything else happens (files only).
        skip_damaged: leave out what cannot be read, with a warning, instead of stopping.
        progress: receives the images that are checked.

    Raises:
        UsageError: another package brings the source, and it cannot be imported.
        DataError: the data set is unknown, missing, empty or damaged, its classes differ
            between splits, or it has too few images.
    """
    if calibration_images is not None:
        require(CountOrZero, "calibration_images", calibration_images)
    require(Seed, "seed", seed)
    require(ShareAboveZero, "crop_pct", crop_pct)
    require(ThreadsOrZero, "workers", workers)
    require(Interpolation, "interpolation", interpolation)
    for each, kind, values in (("mean", Finite, mean), ("std", Positive, std)):
        for value in values or ():
            require(kind, each, value)
    name = re.split("[:/]", source, maxsplit=1)[0]
    path = source[len(name) + 1 :]
    if not is_source(source):
        near = difflib.get_close_matches(source, forms := known_forms(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise DataError(f"unknown data set {source!r}; {hint}known: {', '.join(forms)}")
    if calibration_images is None and name not in FORMS:
        calibration_images = MOST_HELD_OUT
    found: DataSource = DATA.get(name)
    return found.load(
        Request(
            source=source,
            path=path,
            input_size=input_size,
            calibration_images=calibration_images,
            seed=seed,
            root=root,
            mean=mean,
            std=std,
            interpolation=interpolation,
            crop_pct=crop_pct,
            workers=workers,
            check=check,
            skip_damaged=skip_damaged,
            progress=progress,
        )
    )
