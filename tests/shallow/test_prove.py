"""The whole proof, on networks that are what they seem and on one that is not."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthopt.shallow.prove import prove
from tests.networks import Residual, randomised

SIZE = (2, 9, 9)


def test_a_sound_network_holds_in_every_way() -> None:
    model = randomised(Residual())
    found = prove(model, SIZE, images=torch.randn(5, *SIZE))
    assert [part.holds for part in found] == [True] * 6
    assert found[0].detail == "bit for bit"
    assert {part.what for part in found} >= {"3 calls in a row", "the traced network, on 5 images"}


def test_what_is_random_in_training_is_drawn_the_same() -> None:
    class Dropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(F.dropout(self.a(x), 0.5, self.training).mean((2, 3)))

    *_, step = prove(Dropped().eval(), SIZE)
    assert step.holds
    assert step.what.endswith(", where both draw the same")


CALLS = [0]
"""How often a network that counts outside itself has run."""


def test_a_network_that_counts_outside_itself_is_seen_through() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(2, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            CALLS[0] += 1
            return self.a(x).mean((2, 3)) * (2 if CALLS[0] > 9 else 1)

    found = {part.what: part for part in prove(Counting().eval(), SIZE)}
    assert found["the traced network, on a batch of 2"].holds
    assert not all(part.holds for part in found.values())


def test_on_the_meta_device_nothing_is_seen() -> None:
    (found,) = prove(Residual().to("meta"), SIZE)
    assert found.holds is None
    assert found.detail == "the model lies on the meta device"
