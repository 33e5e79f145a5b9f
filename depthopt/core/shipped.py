"""The recipes and latency tables that come with the package, found by name.

They lie in folders below the package where it is installed (setup.py maps them), and beside the
package in a checkout, which is what an editable install runs from.
"""

import difflib
from pathlib import Path

from depthopt.core.clipped import clipped
from depthopt.errors import RecipeError, UsageError

_SUFFIXES = (".yaml", ".yml")


def folder(name: str) -> Path:
    """A folder that comes with the package: ``recipes`` or ``latency_tables``.

    Raises:
        UsageError: the installation lacks it.
    """
    package = Path(__file__).parents[1]
    if (package / name).is_dir():
        return package / name
    # Only of a checkout: what lies beside an installed package is another's.
    if (package.parent / "pyproject.toml").is_file() and (package.parent / name).is_dir():
        return package.parent / name
    raise UsageError(f"depthopt is installed without its {name}; install it again")


def recipes() -> dict[str, Path]:
    """The files of the shipped recipes, by name."""
    return {path.stem: path for path in sorted(folder("recipes").glob("*.yaml"))}


def tables() -> dict[str, Path]:
    """The files of the shipped latency tables, by name: ``DEVICE/CONDITIONS``."""
    root = folder("latency_tables")
    files = sorted(root.glob("*/*.json"))
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in files}


def is_recipe(text: str) -> bool:
    """Whether a command's argument names a recipe: a YAML file, or a shipped one's name."""
    return text.endswith(_SUFFIXES) or (is_name(Path(text)) and text in recipes())


def is_name(path: Path) -> bool:
    """Whether a path may be a shipped recipe's name: one part, no suffix, and no file."""
    return len(path.parts) == 1 and not path.suffix and not path.is_file()


def recipe_file(given: Path) -> Path:
    """A recipe's file: the given one, or that of a shipped recipe of this name.

    Raises:
        RecipeError: there is neither a file nor a shipped recipe of that name.
    """
    if not is_name(given):
        return given
    known = recipes()
    if given.name not in known:
        if given.exists():  # a folder, which whoever reads it says
            return given
        near = difflib.get_close_matches(given.name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}? " if near else ""
        raise RecipeError(
            f"recipe {clipped(given.name)} is neither a file nor a recipe that comes with "
            f"depthopt; {hint}`depthopt recipes` lists them"
        )
    return known[given.name]


def table_file(given: Path) -> Path:
    """A latency table's file or folder: the given one, or a shipped one of this name.

    What is neither is given back, for whoever reads it to say so.
    """
    if given.exists() or given.is_absolute() or ".." in given.parts:
        return given
    try:
        root = folder("latency_tables")
    except UsageError:
        return given
    for path in (root / given, root / f"{given}.json"):
        if path.exists() and path != root:
            return path
    return given
