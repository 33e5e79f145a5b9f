"""How exploring fits into its minutes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthopt.pipeline.pace import LEAST_STEPS, REDUCTIONS, lengths
from depthopt.pipeline.recipe import Recipe


@given(st.integers(1, 5000), st.integers(1, 8), st.floats(0, 1e5))
def test_finetunes_fit_into_the_steps_that_can_be_afforded(
    whole: int, plans: int, affordable: float
) -> None:
    found = lengths(whole, plans, affordable)
    assert 1 <= found.short <= whole
    assert found.long <= whole
    assert found.longs <= plans
    assert plans * found.short + found.longs * found.long <= max(affordable, plans)
    if found.longs:
        assert LEAST_STEPS <= found.short < found.long


@given(st.integers(1, 5000), st.integers(1, 8), st.floats(0, 1e5), st.floats(1, 3))
def test_more_time_is_never_used_worse(
    whole: int, plans: int, affordable: float, more: float
) -> None:
    little, much = (lengths(whole, plans, steps) for steps in (affordable, more * affordable))
    assert (much.short == whole) >= (little.short == whole)


def test_all_are_finetuned_wholly_where_there_is_time() -> None:
    found = lengths(100, 6, 600)
    assert (found.short, found.longs) == (100, 0)


def test_all_plans_have_as_many_steps_as_those_that_are_done() -> None:
    for affordable in (0, 100, 1000, 10_000):
        assert lengths(800, 6, affordable, short=100).short == 100


RECIPE = {
    "model": {"name": "resnet18", "input_size": [3, 32, 32]},
    "data": {"source": "digits"},
    "budget": {"speedup": 2.0},
    "finetune": {"epochs": 3},
}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"candidates": {"kernel_sizes": [5, 7], "max_length": None}},
        {"candidates": {"max_length": 2}, "importance": {"images": 64}, "apply": {"images": 400}},
        {"importance": {"estimator": "finetune"}},
    ],
)
def test_a_reduction_asks_for_no_more_of_anything(changed: dict) -> None:
    recipe = Recipe.model_validate(RECIPE | changed)
    for reduction in REDUCTIONS[1:]:
        assert reduction is not None
        less = reduction.of(recipe)
        assert set(less.candidates.kernel_sizes) <= set(recipe.candidates.kernel_sizes)
        assert less.candidates.kernel_sizes
        assert less.candidates.max_length is not None
        assert less.candidates.max_length <= (recipe.candidates.max_length or 10**9)
        assert less.importance.images <= recipe.importance.images
        assert less.apply.images <= recipe.apply.images
        assert less.importance.estimator == "regression"
        untouched = {"model", "data", "teacher", "latency", "finetune", "seed", "task"}
        assert less.model_dump(include=untouched) == recipe.model_dump(include=untouched)
