"""The task of giving what the original gives."""

import pytest
import torch

from depthopt.errors import DataError
from depthopt.tasks.evaluate import evaluate
from depthopt.tasks.matching import TASK
from depthopt.tasks.registry import task_of


def outputs(*shape: int, seed: int = 0) -> torch.Tensor:
    """Outputs whose channels have means and spreads of their own."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(shape, generator=generator)
    scale = torch.rand(shape[1], generator=generator).view(-1, *(1,) * (len(shape) - 2))
    return found * scale + 10 * scale


def judge(answers: torch.Tensor, *numbers: int):
    assert TASK.scaled is not None
    return TASK.scaled(answers.split(7), numbers or (answers[0].numel(),))


@pytest.mark.parametrize("shape", [(50, 6), (30, 5, 4, 3), (40, 1), (20, 3, 2)])
def test_the_error_is_the_share_of_the_variance_that_is_missed(shape: tuple[int, ...]) -> None:
    answers = outputs(*shape)
    task, mean = judge(answers), answers.mean(0, keepdim=True).expand_as(answers)
    assert task.measure(answers, answers).item() == 0
    assert task.measure(mean, answers).item() / shape[0] == pytest.approx(1, rel=1e-4)
    nearer = 0.9 * answers + 0.1 * mean
    assert task.measure(nearer, answers).item() / shape[0] == pytest.approx(0.01, rel=1e-3)
    assert task.loss is task.divergence


def test_the_scale_does_not_depend_on_units_or_on_how_examples_are_batched() -> None:
    answers, noise = outputs(64, 8), outputs(64, 8, seed=1)
    found = judge(answers).measure(answers + noise, answers)
    scaled = judge(1000 * answers).measure(1000 * (answers + noise), 1000 * answers)
    assert TASK.scaled is not None
    whole = TASK.scaled([answers], [8]).measure(answers + noise, answers)
    assert found.item() == pytest.approx(scaled.item(), rel=1e-5)
    assert found.item() == pytest.approx(whole.item(), rel=1e-5)


def test_each_of_several_outputs_counts_alike_whatever_its_size_and_unit() -> None:
    first, second = outputs(40, 3), 1000 * outputs(40, 50, seed=1)
    answers = torch.cat([first, second], 1)
    task, alone = judge(answers, 3, 50), (judge(first), judge(second))
    noise = torch.randn(answers.shape, generator=torch.Generator().manual_seed(2))
    noise[:, 3:] *= 500
    errors = [
        one.measure(part + more, part).item()
        for one, part, more in zip(alone, (first, second), noise.split([3, 50], 1), strict=True)
    ]
    assert task.measure(answers + noise, answers).item() == pytest.approx(sum(errors) / 2, rel=1e-5)


def test_outputs_that_tell_nothing_are_refused() -> None:
    constant = torch.full((20, 4), 3.0) + torch.tensor([0.0, 1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="the same outputs for all calibration examples"):
        judge(constant)
    with pytest.raises(DataError, match="the same output 2 for all calibration examples"):
        judge(torch.cat([outputs(20, 6), constant], 1), 6, 4)


def test_labels_are_not_taken_for_outputs() -> None:
    network = torch.nn.Linear(4, 3)
    with pytest.raises(DataError, match=r"outputs, \(5, 3\), against .* shape \(5,\)"):
        evaluate(network, [(torch.rand(5, 4), torch.zeros(5).long())], task="matching")


def test_it_is_known_by_name_and_needs_no_targets() -> None:
    assert task_of("matching") is TASK
    assert TASK.imitates
    assert not TASK.metric.higher_is_better
