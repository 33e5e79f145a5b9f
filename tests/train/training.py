"""A data set, networks and a training that tests of training share."""

from dataclasses import replace

import torch
from torch import nn

from depthopt.data.dataset import Dataset, Preprocessing
from depthopt.data.memory import MemorySplit
from depthopt.train.config import TrainConfig
from depthopt.train.finetune import finetune

CONFIG = TrainConfig(epochs=3, batch_size=16, ema_decay=0.9, checkpoint_every_s=0)
LONG = replace(CONFIG, epochs=40)


def make_data():
    """Three classes of 8 x 8 images that differ in which rows are bright."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 3
    pixels = torch.randint(0, 90, (120, 1, 8, 8), generator=generator).byte()
    for i, label in enumerate(labels.tolist()):
        pixels[i, 0, 2 + 2 * label] += 150
    view = Preprocessing((1, 8, 8), (0.3,), (0.2,))
    train, calibration, test = (
        MemorySplit(pixels[at], labels[at], view, mirror=True)
        for at in (slice(0, 70), slice(70, 90), slice(90, 120))
    )
    return Dataset("rows", ("a", "b", "c"), view, train, calibration, test)


def make_model(seed=0, width=8):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64 * width, 3),
    )


def plain_model():
    """Nothing in it depends on what else is in the batch, or on chance."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))


def weights(model):
    return torch.cat([value.double().flatten() for value in model.state_dict().values()])


def train(config=CONFIG, **options):
    model = make_model()
    result = finetune(model, make_data(), config=config, **options)
    return model, result


class Stopped(BaseException):
    """Ends a training between two steps, as a kill would."""


def stop_at(step):
    def progress(done, _steps, _note):
        if done == step:
            raise Stopped

    return progress
