"""``depthopt recipes``: list or print the recipes that come with the package."""

from pathlib import Path
from typing import Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from depthopt.cli.options import console
from depthopt.core import limits
from depthopt.core.reading import read_text
from depthopt.core.shipped import recipe_file, recipes


def show_recipes(
    name: Annotated[
        str | None, typer.Argument(help="Name of a recipe to print.", show_default=False)
    ] = None,
) -> None:
    """List the recipes that come with depthopt, or print one.

    You can give such a name wherever a command takes a recipe: depthopt run quickstart. To change
    more than a few keys, print a recipe into a file and edit it: depthopt recipes NAME > mine.yaml
    """
    if name is not None:
        print(read_text(recipe_file(Path(name)), limits.RECIPE_BYTES), end="")
        return
    for known, path in recipes().items():
        purpose, needs = _head(read_text(path, limits.RECIPE_BYTES))
        console.print(known, style="bold", highlight=False)
        for line in (purpose, f"needs: {needs}"):
            console.print(Padding(Text(line), (0, 0, 0, 4), expand=False))


def _head(text: str) -> tuple[str, str]:
    """A recipe's purpose, its first line of comment, and its prerequisites."""
    lines = [line.removeprefix("#") for line in text.split("\n") if line.startswith("#")]
    needs: list[str] = []
    for line in lines:
        if line.startswith(" Prerequisites:"):
            needs = [line.partition(":")[2].strip()]
        elif needs and line.startswith("   "):
            needs.append(line.strip())
        elif needs:
            break
    return lines[0].strip(), " ".join(needs)
