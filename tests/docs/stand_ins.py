"""The files that examples name, made tiny: a network, its weights, and images of two classes."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

MODEL = '''"""A small network of the user's own."""

from torch import nn


def conv(before, after, stride=1):
    layers = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    return nn.Sequential(*layers)


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels), conv(channels, channels))

    def forward(self, x):
        return x + self.body(x)


class Net(nn.Module):
    def __init__(self, classes=2):
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, 2), Block(16), conv(16, 32, 2))
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def build():
    return Net()
'''

DETECTOR = '''"""A Faster R-CNN whose backbone has a body of a few convolutions."""

from collections import OrderedDict

from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

from my_model import Block, conv


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.more = nn.Sequential(conv(3, 8, 2), conv(8, 8, 2)), Block(8)

    def forward(self, x):
        x = self.stem(x)
        return OrderedDict({"0": self.more(x), "1": nn.functional.max_pool2d(x, 2)})


class Backbone(nn.Module):
    out_channels = 8

    def __init__(self):
        super().__init__()
        self.body = Body()

    def forward(self, x):
        return self.body(x)


def tiny(**_):
    anchors = AnchorGenerator(((16,), (32,)), ((0.5, 1.0, 2.0),) * 2)
    sizes = {"min_size": 64, "max_size": 96, "box_detections_per_img": 5}
    sizes |= {"rpn_pre_nms_top_n_test": 20, "rpn_post_nms_top_n_test": 5}
    return FasterRCNN(Backbone(), num_classes=3, rpn_anchor_generator=anchors, **sizes)
'''

CLASSES = ("cat", "dog")
SPLITS = {"train": 22, "val": 8}
"""Images of each class."""

SIDE = 32


def write(folder: Path) -> None:
    """Write ``my_model.py``, ``my_detector.py``, the weights ``mine.pth``, and ``photos``."""
    (folder / "my_model.py").write_text(MODEL, encoding="utf-8")
    (folder / "my_detector.py").write_text(DETECTOR, encoding="utf-8")
    torch.save(build().state_dict(), folder / "mine.pth")
    for split, count in SPLITS.items():
        for label, name in enumerate(CLASSES):
            place = folder / "photos" / split / name
            place.mkdir(parents=True)
            for number, pixels in enumerate(_pixels(label, count, seed=len(split))):
                Image.fromarray(pixels).save(place / f"{name}{number}.png")


def write_weights(path: Path, name: str) -> None:
    """Weights of one of torchvision's networks, for two classes: ``mine.pth`` stands for them."""
    from torchvision.models import get_model

    torch.save(get_model(name, num_classes=len(CLASSES)).state_dict(), path)


def build() -> nn.Module:
    """The network of ``my_model.py``, trained a little; the same every time."""
    return copy.deepcopy(_trained())


@cache
def _trained() -> nn.Module:
    made: dict[str, type[nn.Module]] = {}
    exec(MODEL, made)  # noqa: S102 - written above
    torch.manual_seed(0)
    network = made["Net"]().eval()
    _train(network)
    return network


def in_python() -> dict[str, object]:
    """What Python's blocks begin with: ``model``, ``train_set`` and ``test_set``."""
    return {"model": build(), "train_set": _dataset("train"), "test_set": _dataset("val")}


def _dataset(split: str) -> TensorDataset:
    found = [_pixels(label, SPLITS[split], seed=len(split)) for label in range(len(CLASSES))]
    images = torch.from_numpy(np.concatenate(found)).permute(0, 3, 1, 2).float() / 127.5 - 1
    labels = torch.arange(len(CLASSES)).repeat_interleave(SPLITS[split])
    return TensorDataset(images, labels)


def _pixels(label: int, count: int, seed: int) -> np.ndarray:
    """(count, SIDE, SIDE, 3) uint8: noise, the upper half brighter in one class."""
    noise = np.random.default_rng(100 * seed + label).integers(0, 128, (count, SIDE, SIDE, 3))
    noise[:, : SIDE // 2] += 120 * label
    return noise.astype(np.uint8)


def _train(network: nn.Module) -> None:
    """A few steps, so that there is an accuracy to keep."""
    dataset = _dataset("train")
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(6):
        images, labels = dataset.tensors
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    network.eval()
