"""Data sets: disjoint splits, repeatable batches, and bad input found before training."""

import gzip
import io
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from depthopt.data import builtin
from depthopt.data.dataset import Preprocessing, stratified, training_steps
from depthopt.data.load import load_dataset
from depthopt.data.memory import MemorySplit
from depthopt.errors import DataError

GREY_32 = (1, 32, 32)


def make_folder(root, splits=("train", "val"), classes=("cat", "dog"), images=6):
    """An ImageFolder of one flat colour a class."""
    for split in splits:
        for level, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(images):
                picture = Image.new("RGB", (20, 16), (80 * level + 40, i, 0))
                picture.save(root / split / name / f"{i}.png")
    return root


def load_folder(root, **changes):
    options = {"input_size": (3, 8, 8), "calibration_images": 4, "seed": 0, "workers": 0}
    return load_dataset(f"folder:{root}", **(options | changes))


def digits(**changes):
    options = {"input_size": GREY_32, "calibration_images": 100, "seed": 0}
    return load_dataset("digits", **(options | changes))


def one_pass(split, **options):
    images, labels = zip(*split.batches(64, **options), strict=True)
    return torch.cat(images), torch.cat(labels)


def test_digits_divide_into_three_disjoint_splits_that_hold_all():
    data = digits()
    splits = (data.train, data.calibration, data.test)
    seen = torch.cat([split.pixels.flatten(1) for split in splits])
    assert [len(split) for split in splits] == [1248, 100, 449]
    everything = torch.from_numpy(np.rint(load_digits().data * 255 / 16)).byte()
    assert torch.equal(seen.unique(dim=0), everything.unique(dim=0))
    assert data.calibration.targets.bincount().tolist() == pytest.approx([10] * 10, abs=1)


def test_the_seed_moves_calibration_but_never_the_test_split():
    first, second = digits(seed=0), digits(seed=1)
    assert torch.equal(first.test.pixels, second.test.pixels)
    assert not torch.equal(first.calibration.pixels, second.calibration.pixels)


def test_batches_are_normalised_and_of_the_input_size():
    images, labels = one_pass(digits().train)
    assert images.shape == (1248, 1, 32, 32)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    # Resizing smooths, so that the spread of the 8 x 8 original shrinks a little.
    assert images.mean().item() == pytest.approx(0, abs=0.05)
    assert images.std().item() == pytest.approx(1, abs=0.15)


def test_grey_is_repeated_for_three_channels():
    images, _ = next(digits(input_size=(3, 16, 16)).test.batches(4))
    assert images.shape == (4, 3, 16, 16)
    assert torch.equal(images[:, 0], images[:, 2])


@pytest.mark.parametrize("source", ["digits", "folder"])
def test_order_and_augmentation_depend_on_the_seed_alone(source, tmp_path):
    split = digits().train if source == "digits" else load_folder(make_folder(tmp_path)).train
    torch.manual_seed(1)
    first, first_labels = one_pass(split, shuffle_seed=5, augment=True)
    torch.manual_seed(2)
    random.seed(2)
    state = torch.get_rng_state(), random.getstate()
    again, _ = one_pass(split, shuffle_seed=5, augment=True)
    other, _ = one_pass(split, shuffle_seed=6, augment=True)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert len(first_labels) == min(len(split), 64 * training_steps(len(split), 64))


def test_skipping_leaves_the_other_batches_as_they_were():
    split = digits().train
    whole = list(split.batches(100, shuffle_seed=3, augment=True))
    rest = list(split.batches(100, shuffle_seed=3, augment=True, skip=9))
    assert (len(whole), len(rest)) == (12, 3)
    for (images, labels), (expected, expected_labels) in zip(rest, whole[9:], strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, expected_labels)


@pytest.mark.parametrize("mirror", [False, True])
def test_augmentation_shifts_over_a_black_border_and_mirrors_where_it_may(mirror):
    pixels = torch.arange(1, 257).clamp(max=255).byte().view(1, 1, 16, 16).repeat(64, 1, 1, 1)
    view = Preprocessing((1, 16, 16), (0.0,), (1 / 255,))
    split = MemorySplit(pixels, torch.zeros(64, dtype=torch.int64), view, mirror)
    ((images, _),) = split.batches(64, shuffle_seed=0, augment=True)
    padded = torch.nn.functional.pad(pixels[0, 0].float(), (2, 2, 2, 2))
    crops = [padded[y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    mirrored = [crop.flip(1) for crop in crops]
    kinds = [
        "crop" if any(torch.allclose(image[0], c) for c in crops)
        else "mirrored" if any(torch.allclose(image[0], c) for c in mirrored)
        else "neither"
        for image in images
    ]  # fmt: skip
    assert set(kinds) == ({"crop", "mirrored"} if mirror else {"crop"})


def test_stratified_holds_out_each_class_in_proportion():
    labels = torch.tensor([0] * 80 + [1] * 15 + [2] * 5)
    out, rest = stratified(labels, 20, seed=0)
    assert labels[out].bincount().tolist() == [16, 3, 1]
    assert torch.equal(torch.cat([out, rest]).sort().values, torch.arange(100))


def write_idx(path, values, *, cut=0):
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    content = head + values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content[: len(content) - cut])


def make_fashion(folder):
    for part, count in (("train", 40), ("t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 10
        pixels = np.broadcast_to(labels[:, None, None], (count, 28, 28))
        write_idx(folder / f"{part}-images-idx3-ubyte", np.ascontiguousarray(pixels))
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)


def load_fashion(root):
    return load_dataset(
        "fashion_mnist", input_size=GREY_32, calibration_images=10, seed=0, root=root
    )


@pytest.mark.parametrize("layout", ["torchvision", "gzipped"])
def test_fashion_mnist_is_found_in_either_layout(layout, tmp_path):
    folder = tmp_path / "FashionMNIST" / "raw" if layout == "torchvision" else tmp_path
    make_fashion(folder)
    if layout == "gzipped":
        for path in list(folder.iterdir()):
            (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    data = load_fashion(tmp_path)
    assert (len(data.train), len(data.calibration), len(data.test)) == (30, 10, 20)
    assert torch.equal(data.test.pixels[:, 0, 5, 5].long(), data.test.targets)


def test_missing_fashion_mnist_names_the_commands_that_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtin, "_DEBIAN", Path("nowhere"))
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist") as caught:
        load_fashion(None)
    assert "\n" not in str(caught.value)
    assert "torchvision" in str(caught.value)


def test_damaged_fashion_mnist_names_the_file(tmp_path):
    make_fashion(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(20, np.uint8), cut=3)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte .* 28 bytes, it has 25"):
        load_fashion(tmp_path)


@pytest.mark.parametrize("splits", [("train", "val"), ("train", "test")])
@pytest.mark.parametrize("form", ["folder", "tar"])
def test_folder_and_tar_give_the_same_images(splits, form, tmp_path):
    source = make_folder(tmp_path / "pictures", splits)
    if form == "tar":
        with tarfile.open(tmp_path / "pictures.tar", "w") as tar:
            tar.add(source, arcname="pictures")
        source = tmp_path / "pictures.tar"
    data = load_folder(source, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    assert data.class_names == ("cat", "dog")
    assert (len(data.train), len(data.calibration), len(data.test)) == (8, 4, 12)
    images, labels = one_pass(data.test)
    assert torch.equal(images[:, 0, 4, 4], 80.0 * labels + 40)
    images, labels = one_pass(data.train, shuffle_seed=0, augment=True)
    assert torch.equal(images[:, 0, 4, 4], 80.0 * labels + 40)


def test_worker_processes_change_nothing(tmp_path):
    make_folder(tmp_path)
    alone, shared = (
        one_pass(load_folder(tmp_path, workers=n).train, shuffle_seed=1, augment=True)
        for n in (0, 2)
    )
    assert torch.equal(alone[0], shared[0])
    assert torch.equal(alone[1], shared[1])


def test_grey_input_from_colour_images(tmp_path):
    images, _ = one_pass(load_folder(make_folder(tmp_path), input_size=(1, 8, 8)).test)
    assert images.shape == (12, 1, 8, 8)


def cut_short(root):
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, "JPEG")
    path = root / "train" / "cat" / "cut.jpg"
    path.write_bytes(content.getvalue()[:1000])
    return path


def test_a_truncated_image_is_named_at_load_and_in_an_epoch(tmp_path):
    path = cut_short(make_folder(tmp_path))
    with pytest.raises(DataError, match=rf"{path} is damaged \(.*truncated.*\)"):
        load_folder(tmp_path)
    unchecked = load_folder(tmp_path, check=False, workers=1, calibration_images=1)
    with pytest.raises(DataError, match="damaged") as caught:
        one_pass(unchecked.train)
    assert "\n" not in str(caught.value)


def test_checking_reports_progress(tmp_path):
    reports = []
    load_folder(make_folder(tmp_path), progress=lambda *report: reports.append(report))
    assert reports[-1] == (24, 24, "checking images")


def bad_folder(tmp_path, case):
    if case == "missing":
        return tmp_path / "nothing"
    if case == "empty":
        return tmp_path
    if case == "empty_split":
        (tmp_path / "val").mkdir()
        return make_folder(tmp_path, ("train",))
    if case == "classes_differ":
        make_folder(tmp_path, ("train",))
        return make_folder(tmp_path, ("val",), ("cat", "cow"))
    path = tmp_path / "images.tar"
    path.write_bytes(b"no tar" * 200)
    return path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", "does not exist"),
        ("empty", "no images in a class's folder; expected CLASS/IMAGE, or train/CLASS"),
        ("empty_split", "no images under val/"),
        ("classes_differ", r"1 only in train/ \(dog\); 1 only in val/ \(cow\)"),
        ("no_tar", "not a whole, uncompressed tar"),
    ],
)
def test_bad_folders_are_refused_in_one_line(tmp_path, case, message):
    with pytest.raises(DataError, match=message) as caught:
        load_folder(bad_folder(tmp_path, case))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        ("digit", {}, "unknown data set 'digit'; did you mean digits"),
        ("imagenet", {}, "known: digits, fashion_mnist, folder:PATH"),
        ("digits", {"calibration_images": 0}, "1 to 1347"),
        ("digits", {"calibration_images": 1348}, "1 to 1347"),
        ("digits", {"input_size": (2, 32, 32)}, "2 channels; expected 1 or 3"),
        ("digits", {"mean": (0.5, 0.5)}, "mean has 2 values"),
    ],
)
def test_bad_requests_are_refused(source, changes, message):
    options = {"input_size": GREY_32, "calibration_images": 100, "seed": 0}
    with pytest.raises(DataError, match=message):
        load_dataset(source, **(options | changes))
