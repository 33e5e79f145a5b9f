"""How many images are held out where nobody says how many."""

import pytest
import torch

from depthopt.data.dataset import calibration_split, stratified
from depthopt.errors import DataError


def split(labels, images=None):
    return calibration_split(torch.tensor(labels), images, seed=0, name="photos")


def test_there_are_512_where_there_is_enough_the_same_as_if_that_were_said():
    labels = [i % 7 for i in range(2560)]
    for one, other in zip(split(labels), split(labels, 512), strict=True):
        assert torch.equal(one, other)
    held, rest = split(labels[:-1])
    assert (len(held), len(rest)) == (511, 2048)


@pytest.mark.parametrize(
    ("labels", "count"),
    [([0, 1], 1), ([0] * 4 + [1] * 4, 2), ([0] * 90 + [1] * 6 + [2] * 2 + [3] * 2, 20)],
)
def test_of_few_a_fifth_is_held_out_each_class_once_if_possible(labels, count):
    held, rest = split(labels)
    assert len(held) == count
    assert sorted(held.tolist() + rest.tolist()) == list(range(len(labels)))
    if count >= len(set(labels)):
        assert {labels[i] for i in held.tolist()} == set(labels)


def test_more_classes_than_a_fifth_of_the_images_are_each_seen():
    held, _ = split([i % 10 for i in range(30)])
    assert sorted(held.tolist()) != list(range(10))
    assert sorted(i % 10 for i in held.tolist()) == list(range(10))


@pytest.mark.parametrize(("labels", "images"), [([0], None), ([0, 1], 2), ([0, 1], 0)])
def test_all_cannot_be_held_out_nor_none(labels, images):
    with pytest.raises(DataError, match=f"photos has {len(labels)} training images"):
        split(labels, images)


def test_a_number_that_is_said_is_chosen_as_ever():
    labels = torch.tensor([0] * 95 + [1] * 5)
    for one, other in zip(split(labels.tolist(), 7), stratified(labels, 7, seed=0), strict=True):
        assert torch.equal(one, other)
