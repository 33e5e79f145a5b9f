"""Intermediate results of a stage, which it continues from if they are whole and its own.

A file that is not costs the work that it held, and a line of the log says so; no run ends for it.
"""

import logging
from collections.abc import Container
from pathlib import Path
from typing import TypeVar

from depthopt.core.artefacts import load_json
from depthopt.errors import ArtefactError

logger = logging.getLogger(__name__)

T = TypeVar("T")


def read_kept(kind: type[T], path: Path, made_from: Container[str] | None) -> T | None:
    """Read a kept file. None if it does not exist, is damaged, or belongs to another run.

    Args:
        kind: what it shall hold.
        path: the file.
        made_from: what it may have been made from; None does not ask.
    """
    if not path.exists():
        return None
    try:
        return load_json(kind, path, made_from=made_from)
    except ArtefactError as error:
        say_left_out(error, path)
        return None


def say_left_out(error: ArtefactError, path: Path) -> None:
    """Warn that a kept file cannot be used."""
    said = str(error).partition("; ")[0]
    logger.warning("%s: the content of %s is not used, and is computed again", said, path.name)
