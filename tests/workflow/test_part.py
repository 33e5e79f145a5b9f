"""A part of a larger network: its inputs recorded, and another one put in its place."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

import depthopt
from depthopt.errors import DataError, ModelError, UsageError
from depthopt.workflow.part import part_of
from tests.networks import randomised


class Body(nn.Module):
    """Gives features of two sizes, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.large, self.small = (
            self._convs(*widths) for widths in ((3, 8), (8, 8, 8, 8), (8, 12, 12))
        )
        self.out_channels = [8, 12]

    @staticmethod
    def _convs(first: int, *widths: int) -> nn.Module:
        layers: list[nn.Module] = []
        for i, width in enumerate(widths):
            layers += [
                nn.Conv2d(first, width, 3, 1 if i else 2, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
            first = width
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        large = self.large(self.stem(x))
        return OrderedDict(large=large, small=self.small(large))


class Detector(nn.Module):
    """Takes a list of images, and gives for each as many numbers as it likes: not to be traced."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = Body(), nn.Linear(20, 4)
        self.calls = 0
        randomised(self)

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        if self.training:
            raise RuntimeError("in training it wants targets too, as torchvision's detectors do")
        features = self.body(torch.stack(images))
        rows = self.head(torch.cat([f.mean((2, 3)) for f in features.values()], 1))
        return [row[row > row.mean()] for row in rows]


def batches(count: int = 10, size: int = 4, side: int = 24) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [list(torch.rand(size, 3, side, side, generator=generator)) for _ in range(count)]


def test_what_the_part_gets_is_recorded_and_divided() -> None:
    network, given = Detector().train(), batches()
    part = part_of(network, "body", given)
    assert network.training
    assert network.body.stem[1].training
    splits = (part.data.train, part.data.calibration, part.data.test)
    assert [len(split) for split in splits] == [26, 6, 8]
    assert all(targets is None for split in splits for _, targets in split.batches(4))
    seen = torch.cat([inputs for split in splits for inputs, _ in split.batches(64)])
    wanted = torch.cat([torch.stack(batch) for batch in given])
    assert torch.equal(seen.unique(dim=0), wanted.unique(dim=0))
    assert part.data.input_size == (3, 24, 24)
    assert part.module is network.body


def test_the_same_batches_have_the_same_name_and_others_another() -> None:
    network = Detector()
    first, again = (part_of(network, "body", batches()).data.name for _ in range(2))
    assert first == again != part_of(network, "body", batches(9)).data.name
    assert first.startswith("memory:")


def test_no_more_is_recorded_than_asked_for() -> None:
    drawn = []

    def lazily():
        for batch in batches():
            drawn.append(batch)
            yield batch

    part = part_of(Detector(), "body", lazily(), most=14)
    assert len(drawn) == 4
    assert sum(len(s) for s in (part.data.train, part.data.calibration, part.data.test)) == 14


def test_what_is_put_back_untouched_changes_nothing_and_the_original_stays() -> None:
    network = Detector().eval()
    part = part_of(network, "body", batches())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    chain = depthopt.extract(part.module, (3, 24, 24))
    kept = depthopt.kept_blocks(chain)
    plan = depthopt.Plan(chain.model, chain.input_size, kept, 1.0, 1.0, 0.0)
    whole = part.put_back(depthopt.fuse(depthopt.apply(part.module, chain, plan)))
    assert whole is not network
    assert whole.body.out_channels == [8, 12]
    with torch.no_grad():
        for found, wanted in zip(whole(batches()[0]), network(batches()[0]), strict=True):
            assert torch.allclose(found, wanted, atol=1e-5)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    network.train()
    assert part.speedup(whole) > 0
    assert network.training, "its mode is restored"
    network.eval()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bodi", "Detector has no part 'bodi'; did you mean body"),
        ("neck.fpn", "its own are body, head"),
        ("", "has no part ''"),
    ],
)
def test_a_part_that_is_not_there_is_named_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        part_of(Detector(), name, batches(1))


class Odd(nn.Module):
    """Calls its parts in ways that cannot be recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never, self.listed = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.listed.forward = lambda images: images[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.listed([self.twice(self.twice(x))])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("twice", "the part twice is called 2 times for one batch, expected once"),
        ("never", "the part never is not called for one batch"),
        ("listed", "the part listed is called with a list for images, expected tensors"),
    ],
)
def test_a_part_that_is_not_called_once_with_tensors_is_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        part_of(Odd(), name, [torch.rand(2, 3, 8, 8)] * 8)


def test_inputs_of_other_sizes_and_too_few_are_refused() -> None:
    with pytest.raises(DataError, match=r"of \(3, 24, 24\) and of \(3, 32, 32\); give images"):
        part_of(Detector(), "body", [*batches(2), *batches(1, side=32)])
    with pytest.raises(DataError, match="8 examples were recorded, 10 or more are needed"):
        part_of(Detector(), "body", batches(2))
    with pytest.raises(DataError, match="there are no batches to record what body gets"):
        part_of(Detector(), "body", [])


def test_parts_of_several_inputs_are_recorded_by_name() -> None:
    class Join(nn.Module):
        def forward(self, image: Tensor, scale: Tensor) -> Tensor:
            return image * scale[:, None, None, None]

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.join = nn.Conv2d(3, 3, 1), Join()

        def forward(self, x: Tensor) -> Tensor:
            return self.join(self.conv(x), scale=x.mean((1, 2, 3)))

    part = part_of(Whole(), "join", [torch.rand(5, 3, 8, 8) for _ in range(4)])
    assert str(part.data.input_size) == "image=3x8x8,scale=scalar"
    inputs, _ = next(part.data.train.batches(2))
    assert {name: tuple(t.shape) for name, t in inputs.items()} == {
        "image": (2, 3, 8, 8), "scale": (2,),
    }  # fmt: skip


def test_boxes_and_scores_of_a_detector_are_the_same_with_its_part_kept() -> None:
    """torchvision's Faster R-CNN, whose loops and suppression are not traced."""
    torch.manual_seed(0)
    body = Body()
    backbone = nn.Sequential(body, _Last())
    backbone.out_channels = 12
    network = randomised(
        FasterRCNN(
            backbone, num_classes=3, min_size=64, max_size=96,
            rpn_anchor_generator=AnchorGenerator(((16, 32),), ((0.5, 1.0),)),
            box_detections_per_img=20, box_score_thresh=0.0,
        )
    )  # fmt: skip
    images = [torch.rand(2, 3, 64, 64) for _ in range(6)]
    part = part_of(network, "backbone.0", images, call=lambda model, batch: model(list(batch)))
    chain = depthopt.extract(part.module, part.data.input_size)
    plan = depthopt.Plan("Body", chain.input_size, depthopt.kept_blocks(chain), 1.0, 1.0, 0.0)
    whole = part.put_back(depthopt.apply(part.module, chain, plan))
    with torch.no_grad():
        wanted, found = network(list(images[0])), whole(list(images[0]))
    assert sum(len(each["boxes"]) for each in wanted) > 0
    for one, other in zip(wanted, found, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in ("boxes", "scores", "labels"))


class _Last(nn.Module):
    def forward(self, features: OrderedDict[str, Tensor]) -> Tensor:
        return features["small"]
