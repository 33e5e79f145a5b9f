"""Methods lie under a recipe's own keys, and what is otherwise is said."""

import logging
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from depthopt.errors import RecipeError, UsageError
from depthopt.pipeline.explore import explore
from depthopt.pipeline.methods import DEPTHOPT, METHODS, MethodName, keys_of
from depthopt.pipeline.overridden import overridden, say_at_odds, settings_of, told
from depthopt.pipeline.recipe import Recipe, make_recipe, recipe_yaml
from depthopt.pipeline.solving import PAPERS_MS, resolution_ms, solving
from depthopt.pipeline.stages import STAGES
from depthopt.solver.stages import Bucketed, Epsilon, Exact
from depthopt.tables.latency import FOOTPRINT_PLANS

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
FASHION = QUICKSTART.with_name("mobilenetv2_100_fashion_onnxruntime.yaml")
"""Which says no key that has the same value in a method: nothing tells that it was said by hand."""
PAPERS = ("layermerge", "depth")


def recipe(method: str | None = None, **sections: Any) -> Recipe:
    least = {
        "model": {"name": "resnet18", "input_size": [1, 32, 32]},
        "data": {"source": "digits"},
        "budget": {"speedup": 2},
    }
    named = {} if method is None else {"method": method}
    return make_recipe({**least, **named, **sections})


def at(content: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def test_every_method_is_there_and_says_where_each_value_is_from() -> None:
    assert set(METHODS) == set(get_args(MethodName))
    assert not METHODS[DEPTHOPT].settings
    for name in (*PAPERS, "mka"):
        method = METHODS[name]
        assert "https://arxiv.org/abs/" in method.source
        assert all(setting.where for setting in settings_of(recipe(name)))
        keys = {".".join(path) for path, _ in keys_of(method.settings)}
        for place in method.where:
            assert any(key == place or key.startswith(f"{place}.") for key in keys), place


@pytest.mark.parametrize("name", PAPERS)
def test_a_method_sets_what_a_recipe_does_not_say(name: str) -> None:
    found = recipe(name).model_dump(mode="json")
    for path, value in keys_of(METHODS[name].settings):
        assert at(found, path) == value, path
    assert overridden(recipe(name)) == ()
    assert told(recipe(name)) == name


def test_what_the_methods_differ_in() -> None:
    layermerge, depth = recipe("layermerge"), recipe("depth")
    assert (layermerge.candidates.subsets, depth.candidates.subsets) == (True, False)
    assert (layermerge.solver.inner_merges, depth.solver.inner_merges) == (False, True)
    assert (layermerge.solver.objective, depth.solver.objective) == ("exp_metric", "metric")
    assert depth.solver.alpha == 1.6
    for found in (layermerge, depth):
        assert found.picked == "predicted"
        assert found.candidates.kinds == ("merge",)
        assert found.candidates.max_length is None
        assert not found.fewer_macs
        assert (found.apply.form, found.apply.start) == ("expanded", "at_once")
        assert found.importance.train.optimizer == "sgd"


def test_mka_averages_the_last_blocks_and_regresses_nothing() -> None:
    found = recipe("mka")
    assert (found.candidates.kinds, found.candidates.coefficients) == (("share",), "similarity")
    assert (found.picked, found.apply.compensate, found.apply.head) == ("predicted", False, False)
    assert overridden(found) == ()


def test_a_recipes_own_keys_win() -> None:
    found = recipe(
        "layermerge",
        candidates={"subsets": False},
        importance={"train": {"epochs": 2}},
        finetune={"epochs": 3},
        solver={"mode": "exact"},
        pick="measured",
    )
    assert not found.candidates.subsets
    assert found.candidates.kinds == ("merge",), "the section's other keys are the method's"
    assert (found.importance.train.epochs, found.importance.train.batch_size) == (2, 256)
    assert (found.finetune.epochs, found.finetune.optimizer) == (3, "sgd")
    assert found.picked == "measured"
    keys = [setting.key for setting in overridden(found)]
    assert keys == [
        "pick", "candidates.subsets", "importance.train.epochs", "solver.mode", "finetune.epochs"
    ]  # fmt: skip
    assert told(found) == f"layermerge, but for {', '.join(keys)}"


def test_a_learning_rate_is_of_its_optimizer() -> None:
    own = recipe("layermerge", finetune={"learning_rate": 1e-3, "epochs": 3}).finetune
    assert own == recipe(finetune={
        "learning_rate": 1e-3, "epochs": 3, "batch_size": 256, "warmup": 0, "clip_norm": None,
        "label_smoothing": 0, "distillation": 0,
    }).finetune  # fmt: skip


def test_trials_and_other_estimators_leave_off_what_does_not_go_with_them() -> None:
    assert recipe("layermerge", trials={"steps": 5}).picked == "tried"
    found = recipe("layermerge", importance={"estimator": "regression"}).importance
    assert (found.estimator, found.kept, found.score_images) == ("regression", False, None)
    for importance in ({"estimator": "regression"}, {"kept": False}):
        solver = recipe("depth", importance=importance).solver
        assert (solver.objective, solver.alpha) == ("metric", 0), "there is no mean to take"


def test_settings_at_odds_are_said_and_the_recipe_wins(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    found = recipe("depth", candidates={"kinds": ["drop", "merge"]}, solver={"objective": "cost"})
    say_at_odds(found)
    kinds, objective = caplog.messages
    assert kinds == (
        "method depth has candidates.kinds merge, the recipe drop, merge: the recipe's is taken, "
        "and the run is not the paper's"
    )
    assert objective.startswith(
        "method depth has solver.objective 'metric', the recipe 'cost': the recipe's is taken"
    )
    assert found.candidates.kinds == ("drop", "merge")
    caplog.clear()
    say_at_odds(recipe("depth", finetune={"epochs": 3}))
    say_at_odds(recipe(candidates={"kinds": ["merge"]}))
    assert not caplog.messages


def test_an_override_changes_the_method_of_a_recipe_that_says_every_key() -> None:
    """A run's own recipe says its method's settings, which are not its own wishes."""
    said = {"finetune": {"learning_rate": 1e-3, "epochs": 7}, "candidates": {"kernel_sizes": [3]}}
    wanted = {name: recipe(name, **said) for name in METHODS}
    whole = {name: yaml.safe_load(recipe_yaml(wanted[name])) for name in METHODS}
    for before in METHODS:
        for after in METHODS:
            assert make_recipe(whole[before], [f"method={after}"]) == wanted[after], (before, after)
    own = make_recipe(whole["layermerge"], ["method=depth", "candidates.subsets=true"])
    assert own.candidates.subsets


def test_a_short_recipe_keeps_what_it_says_by_hand() -> None:
    said = {"candidates": {"kinds": ["drop", "fit"]}}
    least = {"model": {"name": "resnet18", "input_size": [1, 32, 32]}, "data": {"source": "digits"},
             "budget": {"speedup": 2}, **said}  # fmt: skip
    assert make_recipe(least, ["method=depth"]).candidates.kinds == ("drop", "fit")


def test_an_unknown_method_names_the_known() -> None:
    known = "'depthopt', 'layermerge', 'depth' or 'mka'"
    with pytest.raises(RecipeError, match=f"method: Input should be {known}"):
        recipe("layer_merge")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"pick": "guessed"}, "pick: Input should be 'predicted', 'measured' or 'tried'"),
        ({"solver": {"mode": "bucketed"}}, "mode bucketed needs solver.resolution_ms"),
        ({"solver": {"mode": "epsilon"}}, "mode epsilon needs solver.epsilon"),
        ({"solver": {"objective": "accuracy"}}, "solver.objective: Input should be 'cost'"),
        ({"solver": {"alpha": -1}}, "solver.alpha: .* greater than or equal to 0"),
        ({"pick": "predicted", "trials": {"steps": 3}}, "trials.steps needs a budget"),
        ({"importance": {"kept": True}}, "importance: kept needs estimator finetune, not regr"),
        ({"solver": {"objective": "metric", "alpha": 1}}, "solver.alpha is .* importance.kept"),
        (
            {"importance": {"estimator": "magnitude"}, "solver": {"objective": "exp_metric"}},
            "solver.objective exp_metric is of changes of the metric",
        ),
    ],
)
def test_what_cannot_be_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(**sections)


@pytest.mark.parametrize(
    ("sections", "picked"),
    [
        ({}, "tried"),
        ({"pick": "measured"}, "measured"),
        ({"trials": {"steps": 3}}, "tried"),
        ({"trials": {"steps": 3}, "pick": "measured"}, "measured"),
        ({"pick": "tried"}, "tried"),
        ({"pick": "predicted"}, "predicted"),
        ({"budget": {"cost": 1}}, "predicted"),
        ({"budget": {"speedup": 2, "measured": False}}, "predicted"),
        ({"budget": {"speedup": 2, "measured": True}, "trials": {"steps": 3}}, "tried"),
        ({"budget": {"speedup": 2, "measured": True}}, "measured"),
        ({"budget": {"speedup": 2, "measured": True}, "method": "depth"}, "measured"),
        ({"budget": {"speedup": 2, "measured": False}, "pick": "measured"}, "measured"),
    ],
)
def test_how_the_plan_is_picked(sections: dict[str, Any], picked: str) -> None:
    assert recipe(**sections).picked == picked


def test_fewer_macs_follows_the_device() -> None:
    gpu = {"device": "cuda", "runtime": "torch"}
    assert recipe().fewer_macs
    assert not recipe(latency=gpu).fewer_macs
    assert recipe(latency=gpu, candidates={"fewer_macs": True}).fewer_macs


LATER: list[dict[str, Any]] = [
    {"candidates": {"fewer_macs": True, "subsets": False, "end_activations": False}},
    {"candidates": {"segments": "all"}},
    {"importance": {"score_images": None, "kept": False}},
    {"solver": {"objective": "cost", "alpha": 0, "mode": "exact", "inner_merges": True}},
    {"pick": "tried"},
    {"method": "depthopt"},
]


@pytest.mark.parametrize("said", LATER, ids=lambda said: str(*said))
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_key_with_its_default_is_in_no_digest(stage: Any, said: dict[str, Any]) -> None:
    assert stage.settings(recipe(**said)) == stage.settings(recipe())


@pytest.mark.parametrize(
    ("said", "stages"),
    [
        ({"candidates": {"subsets": True}}, {"extract"}),
        ({"candidates": {"fewer_macs": False}}, {"extract"}),
        ({"importance": {"estimator": "finetune", "kept": True}}, {"estimate"}),
        ({"importance": {"score_images": 9}}, set()),  # which regression does not read
        ({"solver": {"objective": "exp_metric"}}, {"solve"}),
        ({"solver": {"inner_merges": False}}, {"solve"}),
        ({"pick": "predicted"}, {"solve"}),
    ],
)
def test_another_value_is_in_its_stages_digest_alone(said: Any, stages: set[str]) -> None:
    changed, plain = recipe(**said), recipe()
    assert {s.name for s in STAGES if s.settings(changed) != s.settings(plain)} == stages


def test_modes_of_the_solver() -> None:
    assert solving(recipe(), 5.0)["mode"] == Exact()
    bucketed = recipe(solver={"mode": "bucketed", "resolution_ms": 0.2})
    assert solving(bucketed, 5.0)["mode"] == Bucketed(0.2)
    near = recipe(solver={"mode": "epsilon", "epsilon": 0.01})
    assert solving(near, 5.0)["mode"] == Epsilon(0.01)
    found = solving(recipe("depth"), PAPERS_MS)
    assert (found["objective"], found["alpha"], found["inner_merges"]) == ("metric", 1.6, True)
    assert found["mode"] == Bucketed(0.05)


def test_a_methods_resolution_is_finer_for_a_faster_network() -> None:
    found = recipe("layermerge")
    assert resolution_ms(found, 1000.0) == 0.1
    assert resolution_ms(found, PAPERS_MS / 4) == pytest.approx(0.025)
    own = recipe("layermerge", solver={"resolution_ms": 0.2})
    assert resolution_ms(own, 1.0) == 0.2, "what a recipe says itself stays"


@pytest.mark.parametrize("name", PAPERS)
def test_exploring_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"explore is for method depthopt.* {name} trains"):
        explore(recipe(name), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_plans_are_timed_for_footprints_by_depthopt_on_a_processor_or_as_said() -> None:
    assert recipe().footprint_plans == FOOTPRINT_PLANS
    assert recipe(latency={"device": "cuda", "runtime": "tensorrt"}).footprint_plans == 0
    for name in PAPERS:
        assert recipe(name).footprint_plans == 0
        assert recipe(name, latency={"footprint_plans": 3}).footprint_plans == 3
    assert recipe(latency={"footprint_plans": 0}).footprint_plans == 0


def test_a_run_that_was_finished_before_there_were_footprints_stays_finished() -> None:
    said, unsaid = ({"latency"}, {})
    assert "footprint_plans" not in recipe().settings(said, unsaid)["latency"]
    told = recipe(latency={"footprint_plans": 0}).settings(said, unsaid)
    assert told["latency"]["footprint_plans"] == 0
