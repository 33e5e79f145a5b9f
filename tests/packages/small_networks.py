"""A source of models for tests: networks whose export takes a second and not three."""

import itertools
from collections.abc import Mapping

from torch import Tensor, nn

from depthopt.core.inputs import InputSize, image_size
from depthopt.errors import ModelError
from depthopt.models.source import Argument, ModelSource


class Block(nn.Module):
    """Two convolutions beside a skip, with a projection where the stride or the width changes."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.act2 = nn.ReLU()
        self.projection = nn.Identity()
        if before != after:
            projection = nn.Conv2d(before, after, 1, stride, bias=False)
            self.projection = nn.Sequential(projection, nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, H, W) to (N, after, H', W')."""
        found = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        output: Tensor = self.act2(found + self.projection(x))
        return output


def create(name: str, arguments: Mapping[str, Argument]) -> nn.Module:
    """``residual``: a stem and four blocks; ``short``: the first two of them."""
    if name not in {"residual", "short"}:
        raise ModelError(f"small:{name} is not known; small:residual and small:short are")
    channels, outputs = int(arguments.get("channels") or 3), int(arguments.get("outputs") or 10)
    stem = nn.Conv2d(channels, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    widths = (16, 16, 32, 32, 48) if name == "residual" else (16, 16, 32)
    blocks = [Block(before, after) for before, after in itertools.pairwise(widths)]
    network = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.add_module("fc", nn.Linear(widths[-1], outputs))
    return network.eval()


def _arguments(input_size: InputSize, outputs: int | None) -> dict[str, Argument]:
    given: dict[str, Argument] = {"channels": image_size(input_size)[0]}
    return given if outputs is None else {**given, "outputs": outputs}


SOURCE = ModelSource(name="small", create=create, arguments=_arguments, trained_for=lambda _: None)
