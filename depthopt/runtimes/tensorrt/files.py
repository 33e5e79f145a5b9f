"""An engine's files: the engine, a note of what it was built for, and its layers."""

import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from depthopt.core import digests
from depthopt.core.writing import write_bytes, writing
from depthopt.errors import ArtefactError
from depthopt.runtimes.tensorrt import origin
from depthopt.runtimes.tensorrt.built import as_json
from depthopt.runtimes.tensorrt.origin import Origin

logger = logging.getLogger(__name__)


def save(path: Path, plan: bytes, layers: dict[str, Any], made: Origin) -> None:
    """Write an engine and the two files beside it, all or none.

    Args:
        path: the engine's file; ``.json`` and ``.layers.json`` lie beside it.
        plan: the engine.
        layers: what is known of its layers.
        made: what it was built with and for.

    Raises:
        WriteFailed: the system refuses.
    """
    path = Path(os.path.realpath(path))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            begun = Path(folder, path.name)
            write_bytes(begun, plan)
            write_bytes(layers_of(begun), as_json(layers))
            origin.note(begun, replace(made, files=(digests.of_bytes(plan),)))
            for written in (layers_of(begun), origin.beside(begun), begun):
                written.replace(path.with_name(written.name))


def check(path: Path, here: Origin) -> None:
    """Refuse an engine that cannot be loaded here, and warn of one that was not checked.

    Raises:
        ArtefactError: there is none, it is for other GPUs or of another library or version, or it
            is another file than was written.
    """
    if not path.exists():
        raise ArtefactError(f"{path} does not exist")
    made = origin.check(path, here, what="the engine", instead="build it again on this machine")
    if made is not None and made.checked is False:
        logger.warning(
            "the engine %s was built for %s where it could not be run: its outputs were not "
            "compared with the network's",
            path,
            made,
        )


def layers_of(path: Path) -> Path:
    """The file that lists an engine's layers."""
    return path.with_name(f"{path.name}.layers.json")
