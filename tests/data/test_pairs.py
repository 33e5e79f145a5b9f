"""Images whose targets are images: masks of classes, and images without noise."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from depthopt.data.dataset import Dataset
from depthopt.data.load import load_dataset
from depthopt.data.resolve import source_of_path
from depthopt.errors import DataError


def array(number: int, width: int = 24, height: int = 16) -> np.ndarray:
    """A picture whose every pixel says where it is, and which picture it is of."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 8, columns * 8, np.full_like(rows, number)], 2).astype(np.uint8)


def pairs(root: Path, targets: str, names: list[str], around: str = "") -> Path:
    for i, name in enumerate(names):
        picture = array(i)
        # A mask's number says the row, so that both can be compared after any change.
        target = (picture[..., 0] // 8) if targets == "masks" else 255 - picture
        for kind, content in (("images", picture), (targets, target)):
            path = root / around / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(path)
    return root


NAMES = [f"{i}.png" for i in range(16)] + [f"trip/{i}.png" for i in range(4)]


def loaded(source: str, **changes: object) -> Dataset:
    options = {"input_size": (3, 8, 8), "calibration_images": 4, "seed": 0, "workers": 0}
    return load_dataset(source, **({"mean": (0.0,), "std": (1.0,)} | options | changes))


def test_masks_are_found_and_divided_and_their_classes_counted(tmp_path: Path) -> None:
    data = loaded(f"masks:{pairs(tmp_path / 'city', 'masks', NAMES)}")
    assert [len(data.train), len(data.calibration), len(data.test)] == [12, 4, 4]
    assert data.class_names == tuple(map(str, range(16)))
    again = loaded(f"masks:{shutil.copytree(tmp_path / 'city', tmp_path / 'copy')}")
    (one, _), (other, _) = (next(d.test.batches(4)) for d in (data, again))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_classes_have_the_names_of_the_file(tmp_path: Path) -> None:
    root = pairs(tmp_path / "city", "masks", NAMES)
    (root / "classnames.txt").write_text("road\n\nsky \n")
    assert loaded(f"masks:{root}").class_names == ("road", "sky")
    (root / "classnames.txt").write_text("road\nroad\n")
    with pytest.raises(DataError, match=r"classnames.txt names 1 classes in 2 lines"):
        loaded(f"masks:{root}")


@pytest.mark.parametrize("augment", [False, True])
def test_a_mask_is_cropped_resized_and_mirrored_as_its_image_is(
    tmp_path: Path, augment: bool
) -> None:
    data = loaded(f"masks:{pairs(tmp_path / 'city', 'masks', NAMES)}", input_size=(3, 12, 12))
    moved = False
    for inputs, masks in data.train.batches(5, shuffle_seed=3, augment=augment):
        assert masks is not None
        assert masks.shape == (len(inputs), 12, 12)
        assert masks.dtype == torch.int64
        rows = inputs[:, 0] * 255 / 8
        assert (rows - masks).abs().max() < 1  # the pixels' own row, but for the resizing
        columns = inputs[:, 1]
        moved |= bool((columns[:, 0, 0] > columns[:, 0, -1]).any())
    assert moved == augment


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("targets", ["masks", "targets"])
def test_a_pass_leaves_the_global_generator_alone(
    targets: str, augment: bool, tmp_path: Path
) -> None:
    source = {"masks": "masks", "targets": "pairs"}[targets]
    data = loaded(f"{source}:{pairs(tmp_path / 'city', targets, NAMES)}")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert len(list(data.train.batches(4, shuffle_seed=1, augment=augment))) == 3
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pass_is_the_same_again(tmp_path: Path) -> None:
    data = loaded(f"masks:{pairs(tmp_path / 'city', 'masks', NAMES)}")
    first, second = (
        [
            torch.cat([i.flatten(1), m.flatten(1)], 1)
            for i, m in data.train.batches(4, shuffle_seed=1, augment=True)
            if m is not None
        ]
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("augment", [False, True])
def test_other_pairs_are_cut_out_and_never_resized(tmp_path: Path, augment: bool) -> None:
    data = loaded(f"pairs:{pairs(tmp_path / 'noisy', 'targets', NAMES)}", mean=None, std=None)
    assert data.class_names == ()
    for inputs, targets in data.train.batches(4, shuffle_seed=2, augment=augment):
        assert targets is not None
        torch.testing.assert_close(inputs, 1 - targets, rtol=0, atol=1e-6)
        step = (inputs[:, 0, 1:] - inputs[:, 0, :-1]) * 255
        torch.testing.assert_close(step, torch.full_like(step, 8.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("around", ["{split}", ""])
def test_splits_are_used_as_they_are(tmp_path: Path, around: str) -> None:
    for split, names in (("train", NAMES[:10]), ("val", NAMES[10:13])):
        inner = [name if around else f"{split}/{name}" for name in names]
        pairs(tmp_path / "city", "masks", inner, around.format(split=split))
    data = loaded(f"masks:{tmp_path / 'city'}")
    assert [len(data.train), len(data.calibration), len(data.test)] == [6, 4, 3]


def test_what_has_no_partner_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = pairs(tmp_path / "city", "masks", NAMES)
    (root / "masks" / "3.png").unlink()
    (root / "images" / "3.png").rename(root / "images" / "three.png")
    (root / "images" / "notes.md").write_text("")
    data = loaded(f"masks:{root}")
    assert len(data.train) + len(data.calibration) + len(data.test) == 19
    assert "1 file of images/ in train without a partner of the same name" in caplog.text
    assert "notes.md" in caplog.text


def test_a_plain_folder_of_pairs_is_known_by_its_folders(tmp_path: Path) -> None:
    assert source_of_path(str(pairs(tmp_path / "a", "masks", NAMES))).startswith("masks:")
    assert source_of_path(str(pairs(tmp_path / "b", "targets", NAMES))).startswith("pairs:")
    around = pairs(tmp_path / "c", "masks", NAMES, "train")
    assert source_of_path(str(around)).startswith("masks:")


def spoilt(root: Path, how: str) -> None:
    mask = root / "masks" / "2.png"
    if how == "colours":
        Image.fromarray(array(2)).save(mask)
    elif how == "size":
        Image.fromarray(array(2, width=10)[..., 0]).save(mask)
    elif how == "jpeg":
        Image.fromarray(array(2)[..., 0]).save(mask.with_suffix(".jpg"))
        mask.unlink()
    elif how == "cut":
        mask.write_bytes(mask.read_bytes()[:40])
    elif how == "twice":
        Image.fromarray(array(2)).save(root / "images" / "2.jpg")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("colours", r"2\.png holds pixels of mode RGB, and each of a mask's is one number"),
        ("size", r"masks/2\.png has 10 x 16 pixels, its image 24 x 16; make them the same"),
        ("jpeg", r"2\.jpg is a JPEG, which may not keep numbers as they are; save masks as PNG"),
        ("cut", r"masks/2\.png is damaged"),
        ("twice", r"2\.(png|jpg) and .*2\.(png|jpg) have the same name"),
    ],
)
def test_a_mask_that_is_none_is_refused(tmp_path: Path, how: str, message: str) -> None:
    root = pairs(tmp_path / "city", "masks", NAMES)
    (root / "classnames.txt").write_text("\n".join(map(str, range(16))))
    spoilt(root, how)
    with pytest.raises(DataError, match=message):
        loaded(f"masks:{root}")


def test_a_damaged_mask_is_left_out_with_its_image_if_that_is_asked_for(tmp_path: Path) -> None:
    root = pairs(tmp_path / "city", "masks", NAMES)
    spoilt(root, "cut")
    data = loaded(f"masks:{root}", skip_damaged=True)
    assert len(data.train) + len(data.calibration) + len(data.test) == 19
    assert len(data.class_names) == 16


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"holds no pairs.*expected images/NAME.png and masks/NAME"):
        loaded(f"masks:{tmp_path}")
    with pytest.raises(DataError, match=r"is not a folder; name one with images/ and targets/"):
        loaded(f"pairs:{tmp_path / 'none'}")


def test_an_image_that_is_too_small_to_cut_out_of_is_refused(tmp_path: Path) -> None:
    data = loaded(f"pairs:{pairs(tmp_path / 'n', 'targets', NAMES)}", input_size=(3, 20, 20))
    with pytest.raises(DataError, match=r"png has 24 x 16 pixels, and 20 x 20 are cut out of each"):
        next(data.test.batches(2))


def test_randaugment_is_refused(tmp_path: Path) -> None:
    data = loaded(f"masks:{pairs(tmp_path / 'city', 'masks', NAMES)}")
    with pytest.raises(DataError, match="randaugment is for images with labels"):
        next(data.train.batches(2, augment=True, randaugment="rand-m9"))
