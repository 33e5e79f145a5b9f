"""A user's own network, in a file that imports another of its folder."""

from pathlib import Path

PARTS = """
from torch import nn


def conv(before, after, stride=1):
    layers = nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()
    return nn.Sequential(*layers)
"""

MODEL = """
from pathlib import Path

import torch
from torch import nn

from parts import conv

print("run")
torch.randn(5)
Path(__file__).with_suffix(".ran").touch()


class Tiny(nn.Module):
    def __init__(self, channels=1, width=8):
        super().__init__()
        self.body = nn.Sequential(conv(channels, width, 2), conv(width, width), conv(width, width))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, 7)

    def forward(self, x):
        return self.fc(self.pool(self.body(x)).flatten(1))


def build():
    return Tiny()


def wide(num_classes, in_chans, width=4):
    net = Tiny(in_chans, width)
    net.fc = nn.Linear(width, num_classes)
    return net


def needs(width, depth):
    return Tiny(width=width)


def a_dict():
    return {"weights": 1}


def raises():
    raise ValueError("no such thing")


def without_head():
    return nn.Sequential(Tiny(), nn.Softmax(1))


network = Tiny()
"""


def write_model(folder: Path) -> Path:
    """Write the file, and what it imports, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parts.py").write_text(PARTS)
    path = folder / "my_model.py"
    path.write_text(MODEL)
    return path
