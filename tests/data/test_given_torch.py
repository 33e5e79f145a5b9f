"""Torch data sets and loaders: split, drawn lazily, the same every time, or refused."""

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from depthopt.data.dataset import Dataset
from depthopt.data.given import given_dataset, require_given
from depthopt.errors import DataError, UsageError


class Spots(TorchDataset):
    """Images whose first pixel is their index; counts what is drawn, and adds noise if asked."""

    def __init__(self, count=40, kinds=4, *, noise=False, listed=False, begin=0):
        self.labels = [i % kinds for i in range(count)]
        self.begin, self.noise, self.drawn = begin, noise, []
        if listed:
            self.targets = self.labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        self.drawn.append(index)
        image = torch.full((3, 4, 5), float(self.labels[index]))
        image[0, 0, 0] = self.begin + index
        if self.noise:
            image = image + torch.rand(3, 4, 5) / 4
        return image, self.labels[index]


def held(split):
    return [int(i) for images, _ in split.batches(8) for i in images[:, 0, 0, 0]]


def test_one_data_set_is_divided_in_three_with_each_class_in_each():
    data = given_dataset(Spots())
    assert isinstance(data, Dataset)
    assert (data.preprocessing, data.input_size) == ((3, 4, 5), (3, 4, 5))
    assert data.class_names == ("0", "1", "2", "3")
    parts = [held(split) for split in (data.train, data.calibration, data.test)]
    assert sorted(i for part in parts for i in part) == list(range(40))
    assert [len(part) for part in parts] == [26, 6, 8]
    for split in (data.train, data.calibration, data.test):
        assert sorted(set(split.targets.tolist())) == [0, 1, 2, 3]


@pytest.mark.parametrize("form", ["two", "pair", "loaders"])
def test_of_two_the_second_is_tested_on_whole(form):
    train, test = Spots(30), Spots(7, begin=100)
    if form == "loaders":
        train, test = DataLoader(train, batch_size=4, shuffle=True), DataLoader(test)
    data = given_dataset((train, test)) if form == "pair" else given_dataset(train, test)
    assert held(data.test) == list(range(100, 107))
    assert sorted(held(data.train) + held(data.calibration)) == list(range(30))


def test_the_same_arguments_give_the_same_and_others_another_name():
    first, second = given_dataset(Spots(noise=True)), given_dataset(Spots(noise=True))
    assert first.name == second.name
    assert first.name.startswith("memory:")
    assert len(first.name) == len("memory:") + 12
    torch.manual_seed(7)
    for options in ({"shuffle_seed": 3}, {"shuffle_seed": 3, "augment": True}, {}):
        passes = [list(data.train.batches(4, **options)) for data in (first, second)]
        for one, other in zip(*passes, strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])
    others = (Spots(41, noise=True), Spots(kinds=5, noise=True), Spots(begin=1, noise=True))
    names = {given_dataset(each).name for each in others}
    names |= {given_dataset(Spots(noise=True), seed=1).name}
    names |= {given_dataset(Spots(noise=True), calibration_images=5).name}
    assert len(names - {first.name}) == 5


def test_a_shuffled_pass_can_be_gone_on_with_and_is_another_one_next_time():
    data = given_dataset(Spots(noise=True))
    whole = [images for images, _ in data.train.batches(4, shuffle_seed=1)]
    rest = [images for images, _ in data.train.batches(4, shuffle_seed=1, skip=2)]
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], rest, strict=True))
    again = [images for images, _ in data.train.batches(4, shuffle_seed=2)]
    assert not torch.equal(whole[0], again[0])


def test_listed_labels_are_taken_and_images_drawn_when_they_are_needed():
    rows = Spots(5000, listed=True)
    data = given_dataset(rows)
    assert len(rows.drawn) < 100
    rows.drawn.clear()
    next(data.train.batches(8))
    assert len(rows.drawn) == 8
    inner = given_dataset(Subset(rows, range(0, 5000, 2)))
    assert sorted(set(inner.train.targets.tolist())) == [0, 2]


def test_labels_that_contradict_the_examples_are_not_taken():
    rows = Spots(listed=True)
    rows.targets = [3 - label for label in rows.labels]
    data = given_dataset(rows)
    (images, labels) = next(data.train.batches(26))
    assert images[:, 0, 0, 1].tolist() == labels.tolist() == data.train.targets.tolist()


def test_a_loaders_workers_and_collate_function_are_kept():
    def doubled(examples):
        return torch.stack([image * 2 for image, _ in examples]), torch.tensor(
            [label for _, label in examples]
        )

    data = given_dataset(DataLoader(Spots(), batch_size=3, num_workers=1, collate_fn=doubled))
    images, labels = next(data.train.batches(6))
    assert images[:, 1, 0, 0].tolist() == [2.0 * label for label in labels.tolist()]
    assert data.train.source.examples.workers == 1


def test_names_of_classes_are_the_data_sets_or_given():
    rows = Spots()
    rows.classes = ["a", "b", "c", "d"]
    assert given_dataset(rows).class_names == ("a", "b", "c", "d")
    assert given_dataset(rows, class_names=("p", "q", "r", "s")).class_names == tuple("pqrs")
    with pytest.raises(DataError, match="class_names has 1 names, the labels go to 3"):
        given_dataset(rows, class_names=("p",))


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


class Rows(list):
    """Examples as they are."""


IMAGE = torch.zeros(3, 4, 4)
REFUSED = {
    "iterable": (Endless(), "IterableDataset, which can only be read in order; give"),
    "its loader": (DataLoader(Endless()), "is an IterableDataset"),
    "batches": ([(torch.zeros(2, 3, 4, 4), torch.zeros(2))] * 3, "a batch of images (2, 3, 4, 4)"),
    "a generator": (
        (x for x in ()),
        "is of type generator; expected a torch Dataset with __getitem__",
    ),
    "a tensor": (torch.zeros(4, 3, 2, 2), "is of type Tensor; expected"),
    "nothing": (Rows(), "holds no examples"),
    "no labels": (Rows([IMAGE] * 4), "is a Tensor, expected (image, label)"),
    "three": (Rows([(IMAGE, 1, 2)] * 4), "is (Tensor, int, int), expected (image, label)"),
    "a picture": (
        Rows([(object(), 1)]),
        "has an object of type object for an image; give the data set a transform",
    ),
    "whole pixels": (Rows([(IMAGE.byte(), 1)]), "an image of torch.uint8; expected floats"),
    "flat": (Rows([(torch.zeros(9), 1)]), "has an image (9,); expected (C, H, W)"),
    "not finite": (Rows([(IMAGE / 0, 1)]), "has an image with NaN or infinite values"),
    "no number": (Rows([(IMAGE, "cat")]), "has the label 'cat'; expected a whole number"),
    "one-hot": (Rows([(IMAGE, torch.ones(3))]), "of a row with a one take its argmax()"),
    "negative": (Rows([(IMAGE, -1)]), "has the label -1; expected"),
    "one class": (Rows([(IMAGE, 1)] * 5), "hold only one class;"),
    "alone": (Rows([(IMAGE, 0), (IMAGE, 0), (IMAGE, 1)]), "only one example of the class 1"),
    "sizes": (
        Rows([(IMAGE, 0), (IMAGE[:, 1:], 1)] * 4),
        "images are of 3x3x4 and 3x4x4; resize them to one size",
    ),
    "a fault": (type("Faulty", (Rows,), {"__getitem__": lambda *_: 1 / 0})([1]), "ZeroDivision"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused_in_one_line(given, message):
    with pytest.raises(DataError) as told:
        given_dataset(given)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_images_of_train_and_test_are_of_one_size():
    other = TensorDataset(torch.zeros(4, 3, 2, 2), torch.tensor([0, 1, 2, 3]))
    with pytest.raises(DataError, match=r"training data are \(3, 4, 5\), of the test data \(3, 2"):
        given_dataset(Spots(), other)


def test_a_run_gets_the_data_that_its_recipe_names():
    data = given_dataset(Spots())
    assert require_given(data, data.name, (3, 4, 5)) is data
    for given, source, size, message in (
        (None, data.name, (3, 4, 5), "were given in memory, so no file holds them; give them"),
        (data, "memory:000000000000", (3, 4, 5), "give the same ones, or another run folder"),
        (data, data.name, (3, 8, 8), "are of (3, 4, 5), model.input_size is (3, 8, 8)"),
    ):
        with pytest.raises(UsageError) as told:
            require_given(given, source, size)
        assert message in str(told.value)
