"""Notes of the files exported into a folder, to tell whether a file is still the same.

The note is a separate file, not a part of ``model.json``: a change of that would make a run repeat
later stages. It is not stored in the ONNX file either: a program that rewrites the file would keep
the note, which would no longer fit.
"""

from dataclasses import dataclass, field
from pathlib import Path

from depthopt.core import digests
from depthopt.core.artefacts import load_json, save_json
from depthopt.errors import ArtefactError

NOTE = "exports.json"


@dataclass(frozen=True, slots=True)
class Exports:
    """The files that were exported into a folder.

    Attributes:
        files: digest of each file, by its name.
    """

    files: dict[str, str] = field(default_factory=dict)


def note(*paths: Path) -> None:
    """Note files that were just written to one folder. Earlier notes of existing files stay."""
    (folder,) = {path.parent for path in paths}
    try:
        known = _noted(folder)
    except ArtefactError:  # of which nothing can be kept
        known = {}
    kept = {name: digest for name, digest in known.items() if (folder / name).exists()}
    files = kept | {path.name: digests.of_file(path) for path in paths}
    if files != known:
        save_json(Exports(dict(sorted(files.items()))), folder / NOTE)


def note_again(*paths: Path) -> None:
    """Note files of one folder if it has notes or holds a saved network."""
    folder = paths[0].parent
    if (folder / NOTE).exists() or (folder / "model.json").exists():
        note(*paths)


def check_noted(path: Path) -> None:
    """Refuse a file that has changed since it was noted in its folder.

    Raises:
        ArtefactError: it was changed or exchanged, or the note was.
    """
    digest = _noted(path.parent).get(path.name)
    if digest is not None and digest != digests.of_file(path):
        raise ArtefactError(
            f"{path} was changed or exchanged after it was exported ({path.parent / NOTE} has its "
            f"{digests.KEY}); export it again, or give a file of your own another name"
        )


def _noted(folder: Path) -> dict[str, str]:
    path = folder / NOTE
    if not path.exists():
        return {}
    try:
        return load_json(Exports, path).files
    except ArtefactError as error:
        raise ArtefactError(f"{error}; exporting again makes it again") from None
