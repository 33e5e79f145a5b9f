"""One network on one set of examples, however they are given."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import depthopt
from depthopt.errors import UsageError


class Mean(nn.Module):
    """Says class 1 of images that are bright."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x.mean((1, 2, 3))
        return torch.stack([-bright, bright], 1)


@pytest.fixture
def examples() -> TensorDataset:
    labels = torch.tensor([0, 1, 1, 0, 1])
    pixels = torch.ones(5, 1, 4, 4) * torch.tensor([-1.0, 1, 1, 1, 1]).view(-1, 1, 1, 1)
    return TensorDataset(pixels, labels)


def test_a_data_set_and_its_loader_and_its_batches_give_the_same(examples: TensorDataset) -> None:
    loader: DataLoader[tuple[Tensor, ...]] = DataLoader(examples, batch_size=2)
    found = [depthopt.evaluate(Mean(), each) for each in (examples, loader, list(loader))]
    assert [each.metric for each in found] == [80, 80, 80]
    assert [each.images for each in found] == [5, 5, 5]
    assert found[0].loss == pytest.approx(found[1].loss)


def test_a_name_is_a_data_set_s_test_split() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    found = depthopt.evaluate(network, "digits", input_size=(1, 8, 8))
    assert found.images == 449


def test_a_name_needs_a_size() -> None:
    with pytest.raises(UsageError, match="say which size digits is resized to"):
        depthopt.evaluate(Mean(), "digits")
