"""A data set in words."""

import torch

from depthopt.core.inputs import Input, InputSpec
from depthopt.data.dataset import Dataset, Preprocessing
from depthopt.data.described import contents, described
from depthopt.data.tensors import TensorSplit


def of(look, names=("cat", "dog")):
    split = TensorSplit(torch.zeros(3, 1))
    return Dataset("some", names, look, split, split, split)


def test_what_a_network_is_given():
    look = Preprocessing((3, 64, 64), (0.485, 0.456, 0.406), (0.2, 0.2, 0.25), "bicubic", 0.875)
    assert described(of(look)) == (
        "input 3x64x64, bicubic, 0.875 of the side kept; normalised by mean 0.485, 0.456, 0.406 "
        "and std 0.2, 0.2, 0.25"
    )
    assert described(of((1, 8, 8))) == "input 1x8x8, as given in memory"
    assert described(of(InputSpec((Input("a", (2,)),)))) == "input a=2, as the data have them"


def test_what_there_is_of_it():
    split = "3 images to train on, 3 held out, 3 to test on"
    assert contents(of((1, 8, 8))) == f"2 classes (cat, dog); {split}"
    assert contents(of((1, 8, 8), ())) == split
    many = contents(of((1, 8, 8), tuple(f"{'x' * 99}{i}\n" for i in range(9))))
    assert many.startswith("9 classes (xxx")
    assert ", ...); 3 images" in many
    assert "\n" not in many
