"""Data sets of Hugging Face's ``datasets`` and of torchvision, by timm's names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthopt.core import limits
from depthopt.core.clipped import one_line
from depthopt.core.reading import read_bytes
from depthopt.data.decode import Decoded, decode, in_mode, opened, told_as_damaged
from depthopt.data.index import Index
from depthopt.data.names import is_hidden
from depthopt.data.stored import StoredImage
from depthopt.errors import DataError

_SPLITS = {"train": ("train",), "val": ("validation", "valid", "val"), "test": ("test",)}
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
_PICKLED = ("cifar10", "cifar100")


@dataclass(frozen=True, slots=True)
class Row:
    """An image of a data set that is read by index.

    Attributes:
        name: what a message calls it.
        rows: the data set, of images or of their files' bytes and paths.
        index: of the image.
        column: of the image in its row: a name, or a number.
    """

    name: str
    rows: Any
    index: int
    column: str | int

    def read(self, mode: str) -> Decoded:
        """Decode the image as ``RGB`` or ``L``.

        Raises:
            DataError: the image is cut short or otherwise unreadable.
        """
        with told_as_damaged(self.name):
            image = self.rows[self.index][self.column]
            if not isinstance(image, Mapping):
                return in_mode(image, mode)
            content = image["bytes"] or read_bytes(Path(image["path"]), limits.IMAGE_BYTES)
        return decode(content, mode, self.name)


def index_hugging_face(name: str, cache: Path | None) -> Index:
    """Index a data set of the Hugging Face hub, or one saved by ``save_to_disk``.

    Args:
        name: on the hub, or a folder.
        cache: where downloads are kept; None leaves that to ``datasets``.

    Raises:
        DataError: it cannot be had, or has no column of images or of labels.
    """
    try:
        import datasets  # noqa: PLC0415 - an extra
    except ImportError:
        raise DataError("hfds/ needs Hugging Face's datasets; run: pip install datasets") from None
    try:
        if (Path(name) / "dataset_dict.json").is_file():
            parts = datasets.load_from_disk(name)
        else:
            parts = datasets.load_dataset(name, cache_dir=cache and str(cache))
    except Exception as error:  # its exceptions share no base but this one
        raise DataError(f"hfds/{name} cannot be loaded: {one_line(error)}") from None
    images: dict[str, list[tuple[int, StoredImage]]] = {}
    classes: tuple[str, ...] = ()
    for split, names in _SPLITS.items():
        rows = next((parts[part] for part in names if part in parts), None)
        if rows is None:
            continue
        image, label = (
            _column(rows.column_names, known, f"hfds/{name}")
            for known in (_IMAGE_COLUMNS, _LABEL_COLUMNS)
        )
        if not isinstance(rows.features[image], datasets.Image):
            raise DataError(f"hfds/{name} holds no images in its column {image}")
        # As timm does: ``datasets`` itself would open any format, and turn images by EXIF.
        files = rows.cast_column(image, datasets.Image(decode=False))
        images[split] = _rows(f"hfds/{name} {split}", files, rows[label], image)
        classes = classes or tuple(getattr(rows.features[label], "names", ()))
    return Index(_named(classes, images), images)


def index_torchvision(name: str, root: Path | None) -> Index:
    """Index a data set of torchvision that lies in ``root``.

    Raises:
        DataError: it is unknown to timm, or not there, or kept as pickles.
    """
    from timm.data.dataset_factory import create_dataset  # noqa: PLC0415 - imports torchvision

    if name in _PICKLED:
        raise DataError(f"torch/{name} is stored as pickles, which are not read; use hfds/{name}")
    images: dict[str, list[tuple[int, StoredImage]]] = {}
    classes: tuple[str, ...] = ()
    for split, word in (("train", "train"), ("val", "validation")):
        try:
            rows = create_dataset(f"torch/{name}", root=str(root or "data"), split=word)
        except (AssertionError, RuntimeError, OSError, ValueError) as error:
            message = " ".join(str(error).split()) or "timm does not know it"
            raise DataError(f"torch/{name} is not in {root or 'data'}: {message}") from None
        if hasattr(rows, "loader"):  # of those that keep files as they are
            rows.loader = opened
        labels = getattr(rows, "targets", None)
        if labels is None:
            raise DataError(f"torch/{name} does not list its labels; use another form of it")
        images[split] = _rows(f"torch/{name} {split}", rows, labels, 0)
        classes = classes or tuple(map(str, getattr(rows, "classes", ())))
        hidden = next(filter(is_hidden, classes), None)
        if hidden is not None:
            raise DataError(
                f"torch/{name} takes the folder {hidden} for a class; delete it, or use folder:PATH"
            )
    return Index(_named(classes, images), images)


def _column(names: Sequence[str], known: Sequence[str], where: str) -> str:
    for name in known:
        if name in names:
            return name
    raise DataError(f"{where} has no column {' or '.join(known)}; it has: {', '.join(names)}")


def _rows(
    where: str, rows: Any, labels: Iterable[Any], column: str | int
) -> list[tuple[int, StoredImage]]:
    return [(int(k), Row(f"{where} {i}", rows, i, column)) for i, k in enumerate(labels)]


def _named(
    classes: tuple[str, ...], images: dict[str, list[tuple[int, StoredImage]]]
) -> tuple[str, ...]:
    """Class names, or numbers where there are none."""
    most = max((label for found in images.values() for label, _ in found), default=-1)
    if not classes:
        return tuple(map(str, range(most + 1)))
    if most >= len(classes):
        raise DataError(f"label {most} is beyond the {len(classes)} classes of the data set")
    return classes
