"""The task of keeping neighbours."""

import pytest
import torch
from torch import nn

from depthopt.errors import DataError
from depthopt.tasks.embedding import TASK, knn_accuracy
from depthopt.tasks.registry import task_of


def rows(n: int = 40, numbers: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, numbers, generator=torch.Generator().manual_seed(seed))


def test_neighbours_stay_if_rows_are_only_turned_and_stretched() -> None:
    original = rows()
    turn, _ = torch.linalg.qr(rows(6, 6, seed=1))
    stretched = original @ turn * torch.rand(40, 1, generator=torch.Generator().manual_seed(2))
    assert TASK.measure(stretched, original).item() == 40
    assert TASK.metric.higher_is_better


def test_it_counts_the_examples_whose_neighbour_is_another() -> None:
    original = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    moved = original.clone()
    moved[1] = torch.tensor([0.1, 1.0])  # goes to the other pair
    assert TASK.measure(original, original).item() == 4
    nearest = [
        max((j for j in range(4) if j != i), key=lambda j: torch.cosine_similarity(m[i], m[j], 0))
        for m in (original, moved)
        for i in range(4)
    ]
    kept = sum(a == b for a, b in zip(nearest[:4], nearest[4:], strict=True))
    assert TASK.measure(moved, original).item() == kept < 4


def test_one_example_alone_has_no_other_neighbour() -> None:
    assert TASK.measure(rows(1), rows(1, seed=1)).item() == 1


def test_costs_are_those_of_matching_and_so_is_the_scale() -> None:
    original, other = rows(), rows(seed=3)
    (scaled, matched) = (
        task_of(name).scaled([original], [6]) for name in ("embedding", "matching")
    )
    assert scaled.name == "embedding"
    assert torch.equal(scaled.loss(other, original), matched.loss(other, original))
    assert scaled.scaled is TASK.scaled


def test_what_is_not_rows_is_refused() -> None:
    with pytest.raises(DataError, match=r"compares rows of numbers.*take task matching"):
        TASK.check_targets(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4))
    with pytest.raises(DataError, match=r"got targets of shape \(2,\)"):
        TASK.check_targets(torch.rand(2, 3), torch.zeros(2))


def test_knn_accuracy_is_that_of_counting_by_hand() -> None:
    points, labels = rows(30), torch.arange(30) % 3
    points[labels == 1] += 2  # so that neighbours tell something
    right = 0
    for i in range(30):
        others = sorted(
            (j for j in range(30) if j != i),
            key=lambda j: -float(torch.cosine_similarity(points[i], points[j], 0)),
        )[:5]
        near = [int(labels[j]) for j in others]
        right += max(near, key=near.count) == int(labels[i])  # of equals the nearest one's
    batches = [(points[:20], labels[:20]), (points[20:], labels[20:])]
    found = knn_accuracy(nn.Identity(), batches)
    assert 100 / 3 < found < 100
    assert found == pytest.approx(100 * right / 30)
    with pytest.raises(DataError, match="knn_accuracy needs a label for each example"):
        knn_accuracy(nn.Identity(), [(points, None)])
    with pytest.raises(DataError, match="needs two examples or more"):
        knn_accuracy(nn.Identity(), [(points[:1], labels[:1])])
