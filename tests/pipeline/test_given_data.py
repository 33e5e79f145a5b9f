"""A run on data given in memory: named by what they are, and asked for again to go on."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from depthopt.data import builtin
from depthopt.data.given import given_dataset
from depthopt.errors import UsageError
from depthopt.pipeline.dry_run import dry_run
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import run
from tests.pipeline.small_run import Log, write_recipe


def loaders(noise: float = 0.0) -> tuple[DataLoader, DataLoader]:
    """Digits of 32 x 32 about zero, as a stranger's program would have them."""
    made = []
    for pixels, labels in builtin.digits():
        images = torch.nn.functional.interpolate(pixels[:300] / 127.5 - 1, size=(32, 32))
        made.append(DataLoader(TensorDataset(images + noise, labels[:300]), batch_size=7))
    return made[0], made[1]


def test_a_run_goes_on_with_the_same_data_alone(tmp_path: Path) -> None:
    data = given_dataset(*loaders())
    small = write_recipe(tmp_path)
    overrides = [f"data.source={data.name}", "teacher.steps=2"]
    recipe, folder = load_recipe(small, overrides), tmp_path / "out"
    assert dry_run(recipe, folder, batch=2, data=data).inputs == (
        "input 1x32x32, as given in memory"
    )
    run(recipe, folder, until="teacher", data=data)
    for other, message in (
        (None, "were given in memory, so no file holds them"),
        (given_dataset(*loaders(0.1)), "the data given are 'memory:"),
    ):
        with pytest.raises(UsageError, match=message):
            run(recipe, folder, until="extract", data=other)
    log = Log()
    again = run(recipe, folder, until="extract", reporter=log, data=given_dataset(*loaders()))
    assert log.skipped_stages == ["teacher"]
    assert again.data.name == data.name
    assert len(again.data.calibration) == len(data.calibration) == 60
