"""Sources of data: how examples are found, and what a user may ask for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from depthopt.core.inputs import InputSize
from depthopt.core.interpolation import Interpolation
from depthopt.core.progress import Progress, silent
from depthopt.data.dataset import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks for. See ``load_dataset``.

    Attributes:
        source: the data set's whole name, such as ``folder:photos``.
        path: what stands behind the source's own name, such as ``photos``; empty if nothing does.
        input_size: (channels, height, width), or the network's named inputs.
        calibration_images: number of examples to hold out from those to train on; None, which
            other packages' sources are never given, leaves it to ``calibration_split``.
        seed: of the choice of these.
        root: where files are searched first.
        mean: per channel, of pixels in 0..1.
        std: per channel, of pixels in 0..1.
        interpolation: how images are resized.
        crop_pct: share of a resized image's side that evaluation keeps.
        workers: processes that read examples.
        check: read every example once, before anything else happens.
        skip_damaged: leave out what cannot be read.
        progress: receives the examples that are checked.
    """

    source: str
    path: str
    input_size: InputSize
    calibration_images: int | None
    seed: int
    root: Path | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation = "bilinear"
    crop_pct: float = 1.0
    workers: int = 2
    check: bool = True
    skip_damaged: bool = False
    progress: Progress = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """A source of data sets.

    Attributes:
        name: before the colon or slash in a data set's name, such as ``folder``.
        load: (request): the data set; a ``DataError`` if it is missing or damaged.
    """

    name: str
    load: Callable[[Request], Dataset]
