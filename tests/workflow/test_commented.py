"""A recipe with comments is the recipe."""

from pathlib import Path

import pytest
import yaml

from depthopt.pipeline.recipe import Recipe, load_recipe, make_recipe
from depthopt.workflow.commented import commented
from tests.pipeline.small_run import write_recipe

SHIPPED = sorted(Path("recipes").glob("*.yaml"))


def lines(recipe: Recipe) -> list[str]:
    return commented(recipe, command="depthopt run mine.yaml").splitlines()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_is_read_as_the_same_recipe(path: Path) -> None:
    recipe = load_recipe(path)
    again = make_recipe(yaml.safe_load("\n".join(lines(recipe))))
    assert again.model_dump() == recipe.model_dump()


def test_every_key_has_a_comment_above_it_and_no_line_is_long(tmp_path: Path) -> None:
    found = lines(load_recipe(write_recipe(tmp_path)))
    keys = [i for i, line in enumerate(found) if line.startswith("  ") and ":" in line]
    own = [i for i in keys if not found[i].startswith(("   ", "  #"))]
    assert len(own) > 60
    assert [found[i] for i in own if not found[i - 1].startswith("  #")] == []
    assert max(map(len, found)) <= 100


def test_the_head_says_the_command(tmp_path: Path) -> None:
    assert lines(load_recipe(write_recipe(tmp_path)))[2] == "# depthopt run mine.yaml"
