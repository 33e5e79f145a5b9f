"""Caches that a library keeps between processes: a file, with origin and digest beside it.

No library sees a file that is another than was written: a damaged one would be written over.
"""

from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from depthopt.core import digests
from depthopt.core.writing import write_bytes, writing
from depthopt.runtimes.tensorrt import origin
from depthopt.runtimes.tensorrt.origin import Origin


def read(path: Path, here: Origin, *, what: str, instead: str) -> bytes:
    """The content of a cache. Empty if there is none.

    Args:
        path: the file.
        here: where it is to be used.
        what: the file in words.
        instead: what to do where it cannot be used.

    Raises:
        ArtefactError: it was made on another GPU or by another version, or was changed since.
    """
    with _locked(path):
        origin.check(path, here, what=what, instead=instead)
        return path.read_bytes() if path.exists() else b""


def keep(path: Path, content: bytes, here: Origin) -> None:
    """Write a cache and its note, if it has changed.

    The note comes first, and tells both what was there and what is to come: whatever a process that
    is killed between the two leaves, it fits.

    Raises:
        WriteFailed: the system refuses.
    """
    with _locked(path):
        before, after = digests.of_file(path), digests.of_bytes(content)
        if before == after and origin.beside(path).exists():
            return
        known = tuple(digest for digest in (before, after) if digest)
        origin.note(path, replace(here, files=known))
        write_bytes(path, content)


def _locked(path: Path) -> FileLock:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"))
