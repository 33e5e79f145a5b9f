"""Look for the files that a recipe names, before torch is loaded."""

from pathlib import Path

from depthopt.core.shipped import table_file, tables
from depthopt.errors import ArtefactError, DataError
from depthopt.pipeline.recipe import Recipe

_SOURCES = ("folder:", "images:", "wds/")
"""What the names of data sets begin with that are paths of this machine."""


def require_files(recipe: Recipe, folder: Path) -> None:
    """Refuse a recipe that names a file that is not there.

    A file is asked for only where no earlier run in the folder has what was made of it.

    Args:
        recipe: what to do.
        folder: of the run, which need not exist.

    Raises:
        ArtefactError: the checkpoint or the latency table does not exist.
        DataError: the folder or tar of the data does not.
    """
    checkpoint, table = recipe.checkpoint, recipe.latency.table
    if checkpoint is not None and not _made(folder, "teacher.safetensors", checkpoint):
        raise ArtefactError(f"model.checkpoint {checkpoint} does not exist")
    if table is not None and not _made(folder, "latency.json", table_file(table)):
        raise ArtefactError(
            f"latency.table {table} does not exist; tables that come with depthopt: "
            f"{', '.join(tables())}"
        )
    for start in _SOURCES:
        if recipe.data.source.startswith(start):
            path = (recipe.data.root or Path()) / recipe.data.source.removeprefix(start)
            if not path.exists():
                raise DataError(f"data.source {recipe.data.source}: {path} does not exist")


def _made(folder: Path, artefact: str, path: Path) -> bool:
    """Whether a file is there, or what a run made of it."""
    return path.exists() or (folder / artefact).exists()
