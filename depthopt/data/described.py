"""Describe a data set in words, as a network sees it."""

from collections.abc import Sequence

from depthopt.core.clipped import printable, shortened
from depthopt.core.inputs import InputSpec, size_text
from depthopt.data.dataset import Dataset, Preprocessing

_TOLD = 4
"""Number of class names that are written out."""

_LETTERS = 40


def described(data: Dataset) -> str:
    """How the inputs are made: their size, and how pixels are normalised."""
    look = data.preprocessing
    if not isinstance(look, Preprocessing):
        how = "as the data have them" if isinstance(look, InputSpec) else "as given in memory"
        return f"input {size_text(data.input_size)}, {how}"
    crop = "" if look.crop_pct == 1 else f", {look.crop_pct:g} of the side kept"
    return (
        f"input {size_text(look.input_size)}, {look.interpolation}{crop}; normalised by mean "
        f"{_listed(look.mean)} and std {_listed(look.std)}"
    )


def contents(data: Dataset) -> str:
    """The classes, and the number of examples in each split."""
    names = data.class_names
    told = ", ".join(_name(name) for name in names[:_TOLD]) + (
        ", ..." if len(names) > _TOLD else ""
    )
    classes = f"{len(names)} classes ({told}); " if names else ""
    return (
        f"{classes}{len(data.train):,} images to train on, {len(data.calibration):,} held out, "
        f"{len(data.test):,} to test on"
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _name(text: str) -> str:
    return shortened(" ".join(printable(text).split()), _LETTERS)
