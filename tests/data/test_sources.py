"""Data sets from shards, Hugging Face and torchvision, and what is done about damaged images."""

import io
import logging
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from depthopt.data.load import load_dataset
from depthopt.errors import DataError
from tests.data.test_load import make_fashion

VIEW = {
    "input_size": (3, 8, 8),
    "calibration_images": 4,
    "seed": 0,
    "mean": (0.0,) * 3,
    "std": (1 / 255,) * 3,
    "workers": 0,
}


def png(value):
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(content, "PNG")
    return content.getvalue()


def put(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def make_shards(folder, *, names=("x-train-0000", "x-train-0001", "x-validation-0000")):
    folder.mkdir(parents=True, exist_ok=True)
    for shard in names:
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for i in range(6):
                put(tar, f"{i:04}.cls", str(i % 2).encode())
                put(tar, f"{i:04}.png", png(100 * (i % 2) + 50))
    return folder


def pixels_and_labels(split, row=4):
    images, labels = zip(*split.batches(4), strict=True)
    return torch.cat(images)[:, 0, row, 4], torch.cat(labels)


def check(data, train, test, row=4):
    assert (len(data.train), len(data.calibration), len(data.test)) == (train, 4, test)
    for split in (data.train, data.calibration, data.test):
        pixels, labels = pixels_and_labels(split, row)
        assert torch.equal(pixels, 100.0 * labels + 50)


@pytest.mark.parametrize("named", [False, True])
def test_shards_are_read_at_random(named, tmp_path):
    make_shards(tmp_path / "shards")
    if named:
        (tmp_path / "shards" / "classnames.txt").write_text("cat\ndog\n")
    data = load_dataset("wds/shards", root=tmp_path, **VIEW)
    check(data, train=8, test=6)
    assert data.class_names == (("cat", "dog") if named else ("0", "1"))
    whole = list(data.train.batches(2, shuffle_seed=1))
    rest = list(data.train.batches(2, shuffle_seed=1, skip=3))
    assert torch.equal(whole[3][0], rest[0][0])


def test_bad_shards_are_refused_in_one_line(tmp_path):
    def refused(message):
        with pytest.raises(DataError, match=message) as caught:
            load_dataset("wds/shards", root=tmp_path, **VIEW)
        assert "\n" not in str(caught.value)

    folder = tmp_path / "shards"
    refused("does not exist")
    folder.mkdir()
    refused("holds no tar with train, val or test")
    make_shards(folder, names=["x-train-0"])
    refused(r"no images under val/")
    make_shards(folder)
    (folder / "classes.txt").write_text("cat")
    refused("names 1 classes, the shards have 2")
    (folder / "classes.txt").unlink()
    with tarfile.open(folder / "y-train.tar", "w") as tar:
        put(tar, "lonely.png", png(5))
    refused(r"y-train.tar:lonely.png has no class; expected a number in lonely.cls")
    (folder / "y-train.tar").write_bytes((folder / "x-train-0.tar").read_bytes()[:3000])
    refused(r"y-train.tar is not a whole, uncompressed tar")
    with tarfile.open(folder / "y-train.tar", "w") as tar:
        put(tar, "twice.png", png(5))
        put(tar, "twice.webp", png(5))
    refused(r"y-train.tar:twice.webp is a second image of twice; keep one of them")
    for label in (b"1000000000", b"9" * 5000, b"x", "²".encode()):
        with tarfile.open(folder / "y-train.tar", "w") as tar:
            put(tar, "a.png", png(5))
            put(tar, "a.cls", label)
        refused(r"y-train.tar:a.cls holds '.*', expected the number of a class, below 100,000")


def test_what_is_left_out_of_shards_is_told(tmp_path, caplog):
    folder = make_shards(tmp_path / "shards")
    with tarfile.open(folder / "y-train.tar", "w") as tar:
        for name in ("._a.jpg", "a.tif", "a.json", "b.heic"):
            put(tar, name, png(50))
        for key in "ab":
            put(tar, f"{key}.cls", b"0")
    for name in ("x-train-7.tar.gz", "more.tar", ".DS_Store"):
        (folder / name).write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        check(load_dataset("wds/shards", root=tmp_path, **VIEW), train=9, test=6)
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith("wds/shards: 3 files are left out: ")
    assert "1 .gz files (such as x-train-7.tar.gz)" in message
    assert "1 shards without train, val or test in their names (such as more.tar)" in message
    assert "1 .heic files with a class but no image" in message


def awkward(value):
    """A grey of 16 bits, and an image that EXIF turns: both of one value, the upper half black."""
    pixels = np.full((8, 8), value, np.uint16)
    pixels[:4] = 0
    exif = Image.Exif()
    exif[0x0112] = 3
    for image in (Image.fromarray(pixels * 257), Image.fromarray(pixels.astype(np.uint8))):
        content = io.BytesIO()
        image.save(content, "PNG", **({} if image.mode == "I;16" else {"exif": exif}))
        yield content.getvalue()


def make_awkward(root, source):
    """Twelve images to train on, six to test on."""
    contents = [[*awkward(50), *awkward(150)][i % 4] for i in range(12)]
    labels = [[0, 0, 1, 1][i % 4] for i in range(12)]
    if source == "hfds":
        datasets = pytest.importorskip("datasets")
        features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")})
        rows = datasets.Dataset.from_dict(
            {"img": [{"bytes": content} for content in contents], "label": labels},
            features=features,
        )
        parts = {"train": rows, "test": rows.select(range(4))}
        datasets.DatasetDict(parts).save_to_disk(root / "saved")
        return f"hfds/{root / 'saved'}"
    if source == "wds":
        for name, several in (("x-train.tar", contents), ("x-val.tar", contents[:4])):
            with tarfile.open(root / name, "w") as tar:
                for i, content in enumerate(several):
                    put(tar, f"{i}.png", content)
                    put(tar, f"{i}.cls", str(labels[i]).encode())
        return "wds/."
    for split, several in (("train", contents), ("val", contents[:4])):
        for i, content in enumerate(several):
            folder = root / split / "ab"[labels[i]]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.png").write_bytes(content)
    return "torch/image_folder" if source == "torch" else f"folder:{root}"


@pytest.mark.parametrize("source", ["folder", "wds", "hfds", "torch"])
def test_every_source_reads_images_alike(source, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        data = load_dataset(make_awkward(tmp_path, source), root=tmp_path, **VIEW)
    check(data, train=8, test=4, row=6)
    assert all(not images[:, :, :3].any() for images, _ in data.test.batches(4))
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith("of 16 images, 8 are turned or mirrored by their EXIF orientation")
    assert "; 8 are grey in more than 8 bits" in message


def test_torchvisions_own_folders_may_have_no_hidden_class(tmp_path):
    make_awkward(tmp_path, "torch")
    (tmp_path / "train" / ".thumbnails").mkdir()
    (tmp_path / "train" / ".thumbnails" / "0.png").write_bytes(png(0))
    with pytest.raises(DataError, match=r"takes the folder \.thumbnails for a class; delete it"):
        load_dataset("torch/image_folder", root=tmp_path, **VIEW)


def test_a_column_that_holds_no_images_is_named(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"image": [[1, 2]], "label": [0]})
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="saved holds no images in its column image"):
        load_dataset(f"hfds/{tmp_path / 'saved'}", **VIEW)


def test_hugging_face_data_sets_are_read_by_index(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )

    def rows(count):
        images = [Image.open(io.BytesIO(png(100 * (i % 2) + 50))) for i in range(count)]
        content = {"img": images, "label": [i % 2 for i in range(count)]}
        return datasets.Dataset.from_dict(content, features=features)

    datasets.DatasetDict({"train": rows(12), "test": rows(6)}).save_to_disk(tmp_path / "saved")
    data = load_dataset(f"hfds/{tmp_path / 'saved'}", **VIEW)
    check(data, train=8, test=6)
    assert data.class_names == ("cat", "dog")
    blind = rows(12).rename_column("img", "scan")
    datasets.DatasetDict({"train": blind, "test": blind}).save_to_disk(tmp_path / "blind")
    with pytest.raises(DataError, match="no column image or img; it has: scan, label"):
        load_dataset(f"hfds/{tmp_path / 'blind'}", **VIEW)


def test_torchvision_data_sets_are_read_where_they_lie(tmp_path):
    make_fashion(tmp_path / "FashionMNIST" / "raw")
    data = load_dataset("torch/fashion_mnist", root=tmp_path, **VIEW)
    assert (len(data.train), len(data.test)) == (36, 20)
    assert data.class_names[:2] == ("T-shirt/top", "Trouser")
    pixels, labels = pixels_and_labels(data.test)
    assert torch.equal(pixels, labels.float())
    with pytest.raises(
        DataError, match="is stored as pickles, which are not read; use hfds/cifar10"
    ):
        load_dataset("torch/cifar10", root=tmp_path, **VIEW)
    with pytest.raises(DataError, match="torch/mnist is not in"):
        load_dataset("torch/mnist", root=tmp_path, **VIEW)


def make_damaged(folder, *, bad):
    for split in ("train", "val"):
        for kind, value in (("cat", 50), ("dog", 150)):
            (folder / split / kind).mkdir(parents=True)
            for i in range(6):
                content = png(value)
                cut = 40 if (split, kind, i) in bad else len(content)
                (folder / split / kind / f"{i}.png").write_bytes(content[:cut])
    return folder


@pytest.mark.parametrize("checked", [True, False])
def test_damaged_images_are_left_out_if_that_is_wanted(checked, tmp_path, caplog):
    make_damaged(tmp_path, bad={("train", "dog", 2), ("val", "cat", 0)})
    options = VIEW | {"check": checked, "skip_damaged": True}
    with caplog.at_level(logging.WARNING):
        data = load_dataset(f"folder:{tmp_path}", **options)
        images = sum(len(x) for s in (data.train, data.calibration) for x, _ in s.batches(4))
        tested = sum(len(x) for x, _ in data.test.batches(4))
    assert (images, tested) == (11, 11)
    text = " ".join(record.getMessage() for record in caplog.records)
    assert "2.png is damaged" in text
    if checked:
        assert "2 of 24 images are left out" in text
        assert len(data.test) == 11
        pixels, labels = pixels_and_labels(data.test)
        assert torch.equal(pixels, 100.0 * labels + 50)


def test_damaged_images_stop_a_run_otherwise_wherever_they_are_met(tmp_path):
    make_damaged(tmp_path, bad={("train", "dog", 2)})
    with pytest.raises(DataError, match=r"2.png is damaged \(.*\); replace or delete it"):
        load_dataset(f"folder:{tmp_path}", **VIEW)
    data = load_dataset(f"folder:{tmp_path}", **(VIEW | {"check": False}))
    with pytest.raises(DataError, match=r"2.png is damaged"):
        [list(split.batches(4)) for split in (data.train, data.calibration)]


def test_a_batch_of_damaged_images_alone_stops_even_so(tmp_path):
    make_damaged(tmp_path, bad={("val", "cat", i) for i in range(4)})
    data = load_dataset(f"folder:{tmp_path}", **(VIEW | {"check": False, "skip_damaged": True}))
    with pytest.raises(DataError, match="so is every other image of its batch"):
        list(data.test.batches(4))


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("source", ["folder", "digits"])
def test_processes_share_every_batch(source, augment, tmp_path):
    make_damaged(tmp_path, bad=())
    data = load_dataset(f"folder:{tmp_path}" if source == "folder" else source, **VIEW)
    options = {"shuffle_seed": 3, "augment": augment, "skip": 1}
    whole = list(data.train.batches(4, **options))[:2]
    parts = [list(data.train.batches(4, part=(rank, 2), **options))[:2] for rank in (0, 1)]
    assert whole
    for (images, labels), first, second in zip(whole, *parts, strict=True):
        for values, *shares in ((images, first[0], second[0]), (labels, first[1], second[1])):
            assert torch.equal(values, torch.stack(shares, dim=1).flatten(0, 1))


def test_randaugment_depends_on_the_seed_alone(tmp_path):
    make_damaged(tmp_path, bad=())
    split = load_dataset(f"folder:{tmp_path}", **VIEW).train

    def drawn(seed, randaugment):
        np.random.seed(seed + 50)  # noqa: NPY002 - what timm draws from
        batches = split.batches(4, shuffle_seed=seed, augment=True, randaugment=randaugment)
        return torch.cat([images for images, _ in batches])

    first = drawn(0, "rand-m9-mstd0.5-inc1")
    assert torch.equal(first, drawn(0, "rand-m9-mstd0.5-inc1"))
    assert not torch.equal(first, drawn(0, None))
    grey = load_dataset("digits", **VIEW).train
    with pytest.raises(DataError, match="randaugment is for images in files"):
        next(grey.batches(4, augment=True, randaugment="rand-m9"))
