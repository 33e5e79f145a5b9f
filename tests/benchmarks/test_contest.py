"""The parts of the head-to-head benchmark that decide what is compared."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import contest.race
import contest.report
import head_to_head
import papers
import pytest
import timm
import torch
from contest.family import Family
from contest.methods import ABLATIONS, METHODS, Method
from contest.networks import recipe_of
from contest.race import Contestant, Pace, race
from contest.report import Results, Row, paired, plot, table

from depthopt.core.artefacts import load_json
from depthopt.data.load import load_dataset
from depthopt.errors import InfeasibleBudget, UsageError
from depthopt.pipeline.recipe import load_recipe
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import TrainingDiverged


def test_a_race_goes_on_where_it_was_stopped_and_teaches_only_who_has_tensors_to_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_dataset("digits", input_size=(1, 16, 16), calibration_images=64, seed=0)
    teacher = timm.create_model("mobilenetv2_035", in_chans=1, num_classes=10)
    context = SimpleNamespace(data=data, teacher=teacher)
    contestants = [
        Contestant("original", "the original", teacher),
        Contestant("plan", "a plan", teacher, (("conv_head", "conv_head"),)),
    ]
    seen = []
    real = contest.race.finetune

    def finetune(*networks: object, **options: Any) -> object:
        with_teacher = options["teacher"] is not None
        seen.append((with_teacher, bool(options["matched"]), options["config"].matching))
        return real(*networks, **options)

    monkeypatch.setattr(contest.race, "finetune", finetune)
    config = TrainConfig(batch_size=8, distillation=0.0, matching=1.0)
    settings = {"path": tmp_path / "race.json", "minutes": 1e-6, "pace": Pace(1, 1, 1)}
    first = race(contestants, context, config, seeds=1, **settings)
    assert set(seen) == {(False, False, 0.0), (True, True, 1.0)}
    assert [outcome.steps for outcome in first] == [1, 1]
    done = len(seen)
    again = race(contestants, context, config, seeds=2, **settings)
    assert len(seen) == done + 2, "speeds and the first seed are known"
    for before, after in zip(first, again, strict=True):
        assert len(after.accuracies) == len(after.right) == 2
        for accuracy, right in zip(after.accuracies, after.right, strict=True):
            assert 100 * right.count("1") / len(right) == pytest.approx(accuracy)
        assert after.accuracies[0] == before.accuracies[0]
    assert "a plan, 1 steps at 0.002, seed 1" in capsys.readouterr().out


def test_each_group_races_at_the_learning_rate_that_serves_its_middle_one_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {
        "a": {1e-3: (0.2, 0.5), 3e-4: (0.3, 0.3)},  # the better of the first seed is not the best
        "b": {1e-3: (0.1, 0.1), 3e-4: (0.2, 0.2)},
        "c": {3e-4: (0.9, 0.9)},
    }
    trained = []

    def train(
        contestant: Contestant,
        _context: object,
        config: TrainConfig,
        progress: Callable[..., None] | None = None,
    ) -> object:
        if progress is None:
            trained.append((contestant.name, config.learning_rate, config.seed))
            if config.learning_rate not in losses[contestant.group]:
                raise TrainingDiverged("too fast")
        for step in range(config.steps if progress else 0):
            progress(step, config.steps, "")
        return (contestant.group, config.learning_rate, config.seed), None

    def evaluated(model: tuple[str, float, int], _batches: object) -> object:
        group, rate, seed = model
        return SimpleNamespace(loss=losses[group][rate][seed], metric=50.0)

    monkeypatch.setattr(contest.race, "train", train)
    monkeypatch.setattr(contest.race, "evaluate", evaluated)
    monkeypatch.setattr(contest.race, "rightly", lambda *_: "")
    monkeypatch.setattr(contest.race, "perf_counter", partial(next, count()))
    split = SimpleNamespace(batches=lambda _size: [])
    context = SimpleNamespace(data=SimpleNamespace(test=split, calibration=split), teacher=None)
    contestants = [
        Contestant(name, name, torch.nn.Identity(), group=name[0])
        for name in ("a1", "a2", "a3", "b1", "c1")
    ]
    settings = {"path": tmp_path / "race.json", "minutes": 1, "seeds": 2}
    for _ in range(2):  # the second finds all of it done
        outcomes = race(contestants, context, TrainConfig(), rates=(1e-3, 3e-4), **settings)
        assert [outcome.steps for outcome in outcomes] == [60] * 5, "a step took one second"
        assert [outcome.learning_rate for outcome in outcomes] == [3e-4] * 3 + [1e-3, 3e-4]
    tried = list(product(("a2", "b1", "c1"), (1e-3, 3e-4), (0, 1)))
    assert trained == [*tried, *((name, 3e-4, seed) for seed in (0, 1) for name in ("a1", "a3"))]


def test_two_methods_are_held_against_each_other_image_by_image() -> None:
    rows = [
        Row("net", "ort", name, 2.0, accuracies=(75.0, 50.0), right=right)
        for name, right in (
            ("ours", ("1" * 75 + "0" * 25,) * 2),
            ("theirs", ("1" * 50 + "0" * 50,)),
        )
    ]
    assert paired(rows[0], rows[0]) == (0.0, 0.0, 0.0)
    gained, low, high = paired(*rows)
    assert gained == 25
    assert 15 < low < 20, "a quarter of 100 images, give or take"
    assert 30 < high < 36
    told = table(Results({row.key: row for row in rows}, {}, ""))
    assert "- net ort theirs 2x: -25.00 points beside ours (-" in told


def test_a_method_has_one_colour_in_all_panels_of_the_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an earlier method has no point."""
    drawn = defaultdict(set)

    def draw(_axes: object, colour: str, points: Iterable[tuple[float, float]]) -> None:
        for speedup, _ in points:
            drawn[speedup].add(colour)

    monkeypatch.setattr(contest.report, "_draw", draw)
    rows = [
        Row("net", "fake", "reaches", 2.0, 0, (2.0,), 50.0, 1, None, (60.0,)),
        Row("net", "fake", "other", 2.0, 0, (3.0, 3.0), 50.0, 1, None, (60.0,)),
        Row("second", "fake", "reaches", 2.0, note="not reached"),
        Row("second", "fake", "other", 2.0, 0, (4.0,), 50.0, 1, None, (60.0,)),
    ]
    plot(Results({row.key: row for row in rows}, {}, ""), tmp_path / "plot.svg")
    assert drawn[3.0] == drawn[4.0] != drawn[2.0]
    assert len(drawn[3.0]) == 1
    assert (tmp_path / "plot.svg").is_file()


def test_a_network_that_is_slow_when_all_are_timed_in_turn_is_picked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone every network seems a tenth faster than it is, and its index is its speed."""

    class Network(torch.nn.Module):
        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    class Stopwatch:
        def speedup(self, name: object, network: Callable[[], Network]) -> float:
            return 1.1 * self.speedups({name: network})[name]

        def speedups(self, networks: dict[object, Callable[[], Network]]) -> dict[object, float]:
            return {name: 1 + network().index / 100 for name, network in networks.items()}

    monkeypatch.setattr(head_to_head, "PAUSE", 0.0)
    monkeypatch.setattr(head_to_head.Match, "_accuracy", lambda _match, _network: 50.0)
    monkeypatch.setattr(head_to_head.Match, "_original", lambda _match, _row, **_begins: Network(0))
    conditions = SimpleNamespace(
        device="", runtime="fake", runtime_version="1", threads=1, batch=1, dtype="float32"
    )
    context = SimpleNamespace(
        teacher=Network(0),
        recipe=SimpleNamespace(latency=SimpleNamespace(runtime="fake")),
        runtime=SimpleNamespace(conditions=lambda _batch: conditions),
        path=lambda name: tmp_path / name,
    )
    (tmp_path / "entries").mkdir()
    options = SimpleNamespace(speedups=[1.5, 2.0, 9.0], seconds=1.0, minutes=0, ablations=False)
    results = Results({}, {}, "")
    began = time.monotonic() - 120  # two minutes before this run
    match = head_to_head.Match(
        "net", context, results, tmp_path / "r.json", options, Stopwatch(), began
    )
    predicted = tuple(1 + i / 100 for i in range(200))
    own = dict(zip(options.speedups, (170, 250, None), strict=True))

    def choose(asked: float) -> int:
        if (index := own.get(asked)) is None:
            raise InfeasibleBudget("the fastest plan is 3.29 times as fast")
        return index

    match.play(
        {
            "fake": lambda _context: Family(predicted, Network, Network),
            "picks": lambda _context: Family(predicted, Network, Network, choose),
        }
    )
    picks = [row for row in results.rows.values() if row.method == "picks"]
    assert [(row.index, row.note) for row in picks] == [
        (170, ""), (250, ""), (None, "not reached: the fastest plan is 3.29 times as fast"),
    ]  # fmt: skip
    rows = {row.asked: row for row in results.rows.values() if row.method == "fake"}
    for asked in (1.5, 2.0):
        assert 0.97 * asked <= rows[asked].speedup <= 1.04 * asked
        assert rows[asked].speedup == 1 + rows[asked].index / 100
        assert rows[asked].note == ""
    assert rows[9.0].index is None
    assert rows[9.0].note == "not reached: at most 3.29x measured"
    assert load_json(Results, tmp_path / "r.json").minutes["net"] >= 2


def test_methods_are_chosen_by_name_and_a_wrong_one_is_told_the_right_ones() -> None:
    def chosen(methods: list[str]) -> list[str]:
        options = SimpleNamespace(ablations=False, methods=methods)
        return list(head_to_head.methods_of(options, recipes))

    def recipes(_overrides: Sequence[str]) -> object:
        raise AssertionError("no recipe is read before its method is asked for a network")

    assert len(chosen([])) == 8
    assert chosen(["uniform depth", "depthopt"]) == ["depthopt", "uniform depth"]
    with pytest.raises(UsageError, match=r"'layermerge' is not one of 'depthopt', 'LayerMerge'"):
        chosen(["layermerge"])


@pytest.mark.parametrize("method", [*METHODS, *ABLATIONS], ids=lambda method: method.name)
def test_a_method_is_settings_of_a_recipe(method: Method) -> None:
    options = SimpleNamespace(importance_images=64, workers=2, overrides=["seed=1"])
    recipe = recipe_of("mobilenetv2", "openvino", options, method.overrides)
    assert (recipe.latency.runtime, recipe.latency.threads, recipe.latency.batch) == (
        "openvino", 1, 1,
    )  # fmt: skip
    assert recipe.seed == 1
    assert recipe.importance.workers == 2
    assert recipe.importance.train_images == 64, "reduced, where candidates are trained at all"
    assert recipe.importance.score_images is None
    plain = recipe_of("mobilenetv2", "openvino", options)
    assert (recipe == plain) == (method.overrides == ())


@pytest.mark.parametrize("name", ["head_to_head", "head_to_head_ablations"])
def test_recorded_results_are_read_and_say_that_their_protocol_is_an_earlier_one(name: str) -> None:
    results = load_json(Results, Path(__file__).with_name(f"{name}.json"))
    assert len(results.rows) > 5
    assert "an earlier protocol" in results.settings
    assert "8 steps of AdamW" in results.settings


def test_the_papers_importance_is_reduced_and_the_default_keeps_its_own() -> None:
    options = SimpleNamespace(
        recipe="quickstart",
        speedup=1.5,
        by_table=False,
        overrides=["importance.train_images=64", "finetune.epochs=1"],
    )
    default, layermerge = (
        load_recipe(Path("quickstart"), papers.overrides_of(method, options))
        for method in ("depthopt", "layermerge")
    )
    assert (default.method, layermerge.method) == ("depthopt", "layermerge")
    assert default.importance.train_images == 128
    assert layermerge.importance.train_images == 64
    for recipe in (default, layermerge):
        assert (recipe.pick, recipe.budget.speedup, recipe.finetune.epochs) == ("measured", 1.5, 1)
