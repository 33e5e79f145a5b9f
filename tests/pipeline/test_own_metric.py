"""A user's own metric: a function that a recipe names."""

from pathlib import Path

import pytest
import torch
from torch import nn

from depthopt.errors import ModelError, UsageError
from depthopt.pipeline.own_metric import require_function, told_by
from depthopt.pipeline.recipe import load_recipe
from depthopt.pipeline.run import result, run
from depthopt.report.facts import result_rows
from tests.pipeline.small_run import Log, write_recipe

SURE = """
import torch

def sure(network, batches):
    assert not network.training and not torch.is_grad_enabled()
    shares = [network(x).softmax(1).gather(1, y[:, None]) for x, y in batches]
    return torch.cat(shares).mean()
"""


def test_the_result_tells_it_of_all_three_networks(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = finished
    (recipe.parent / "mine.py").write_text(SURE)
    monkeypatch.chdir(out)  # the file is found beside the recipe
    asked = load_recipe(recipe, ["metric=mine.py:sure"])
    with pytest.raises(UsageError, match=r"would run the file .*mine.py and call sure of it"):
        run(asked, out)
    before, log = result(out), Log()
    assert before.further == ()
    made = run(asked, out, reporter=log, allow_code=True)
    assert log.done == ["result"]
    (own,) = result(out).further
    assert own.name == "sure"
    probabilities = []
    for network in (made.teacher, made.network("applied"), made.network("fused")):
        with torch.no_grad():
            shares = [
                network.eval()(x).softmax(1)[range(len(y)), y]
                for x, y in made.data.test.batches(64)
            ]
        probabilities.append(float(torch.cat(shares).mean()))
    assert [own.original, own.untrained, own.compressed] == pytest.approx(probabilities)
    labels = {row.label: row for row in result_rows(result(out))}
    assert labels["sure"].compressed == f"{own.compressed:.4g}"

    # Another file is another metric; the same one is not asked again.
    run(asked, out, reporter=(again := Log()), allow_code=True)
    assert again.done == []
    (recipe.parent / "mine.py").write_text(SURE.replace(".mean()", ".max()"))
    run(load_recipe(recipe, ["metric=mine.py:sure"]), out, reporter=again, allow_code=True)
    assert again.done == ["result"]
    assert result(out).further != (own,)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 'good'", r"m.py:f returns a str, expected a number"),
        ("return float('nan')", r"m.py:f returns nan, expected a finite number"),
        ("return 1 / 0", r"m.py:f raises ZeroDivisionError"),
    ],
)
def test_what_is_no_number_is_refused(body: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(f"def f(network, batches):\n    {body}\n")
    with pytest.raises(ModelError, match=message):
        told_by(f"{tmp_path / 'm.py'}:f", nn.Identity(), [])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("accuracy", "metric 'accuracy' is not a function's name, such as my_metric.py:boxes_kept"),
        ("none.py:f", r"none.py does not exist, where f is to be"),
    ],
)
def test_a_metric_that_is_not_there_is_refused_before_anything_else(
    name: str, message: str, tmp_path: Path
) -> None:
    recipe = load_recipe(write_recipe(tmp_path), [f"metric={name}"])
    with pytest.raises((ModelError, UsageError), match=message):
        run(recipe, tmp_path / "out", allow_code=True)
    assert not (tmp_path / "out").exists()


def test_depthopts_own_functions_need_no_permission() -> None:
    require_function("depthopt.tasks.embedding:knn_accuracy", allow_code=False)
    with pytest.raises(UsageError, match="would import the module depthopt_other and call f"):
        require_function("depthopt_other:f", allow_code=False)
