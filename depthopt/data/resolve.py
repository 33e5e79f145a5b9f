"""Turn what a user types into the name of a data set, as recipes hold it."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from depthopt.core.clipped import clipped
from depthopt.data.forms import is_source, known_forms
from depthopt.data.names import extension, is_hidden, is_shard
from depthopt.data.pairs import MASKS, TARGETS, holds_pairs
from depthopt.errors import DataError

_PACKED = (".zip", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".7z", ".rar")


def source_of_path(text: str) -> str:
    """The ``data.source`` of a recipe, from a data set's name or path.

    Args:
        text: a data set's name, such as ``digits`` or ``hfds/NAME``; or the path of a folder or
            of an uncompressed tar. A name goes first: of a folder of the same name, ``./digits``
            tells.

    Returns:
        A name as it is, and of a path the name that it goes by: ``wds/PATH`` of a folder of
        webdataset's shards, ``masks:PATH`` of one with ``images/`` and ``masks/``, ``pairs:PATH``
        of one with ``images/`` and ``targets/``, ``hfds/PATH`` of what Hugging Face's datasets
        saved, ``folder:PATH`` of all else.

    Raises:
        DataError: it is neither, or a packed file.
    """
    if not text:
        raise DataError("the name of the data set is empty; expected a path, or a name")
    if is_source(text):
        return text
    path = Path(text).expanduser()
    if path.is_dir():
        return _of_folder(path)
    if path.is_file():
        return _of_file(path)
    near = difflib.get_close_matches(text, [*known_forms(), *_beside(path)], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise DataError(
        f"{clipped(text)} is neither a data set nor a folder or tar; {hint}expected a path, or "
        f"one of {', '.join(known_forms())}"
    )


def source_from_everywhere(text: str) -> str:
    """Like ``source_of_path``, but a path becomes absolute.

    Raises:
        DataError: likewise.
    """
    path = Path(text).expanduser()
    is_path = text and not is_source(text) and path.exists()
    return source_of_path(str(path.resolve()) if is_path else text)


def _of_folder(path: Path) -> str:
    if (path / "dataset_dict.json").is_file():
        return f"hfds/{path}"
    for source, targets in (("masks", MASKS), ("pairs", TARGETS)):
        if holds_pairs(path, targets):
            return f"{source}:{path}"
    entries = sorted(path.iterdir())
    folders = [each for each in entries if each.is_dir() and not is_hidden(each.name)]
    if not folders and any(is_shard(each.name) for each in entries):
        return f"wds/{path}"
    return f"folder:{path}"


def _of_file(path: Path) -> str:
    kind = extension(path.name)
    if kind in _PACKED:
        raise DataError(
            f"{path} is compressed, and images are read in random order; unpack it, and name the "
            "folder that you get"
        )
    if kind != ".tar":
        raise DataError(f"{path} is a file; name a folder of classes' folders, or a tar of them")
    return f"folder:{path}"


def _beside(path: Path) -> Iterator[str]:
    """What lies where a path leads to nothing, written as the path is."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in entries if not is_hidden(entry.name)]
    except OSError:
        return
    yield from (str(path.parent / name) for name in names)
