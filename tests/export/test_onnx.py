import contextlib
import importlib
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from depthopt.core.operators import Convolution
from depthopt.errors import ArtefactError, CheckFailed, DataError, ModelError, UsageError
from depthopt.export.onnx import export_onnx, load_onnx, relative_difference
from depthopt.export.read_once import _kept, read_once
from depthopt.graph.convolutions import make_conv
from tests.real_images import crops


def test_a_file_says_what_it_is_and_nothing_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Identity(), nn.Flatten())
    shape = {"names": ("pixels", "scores"), "metadata": {"depthopt.model": "tiny"}}
    export_onnx(network, path, images=crops(8, (1, 5, 5)), batch=None, **shape)
    model = load_onnx(path)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told == {"depthopt.version": model.producer_version, "depthopt.model": "tiny"}
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("pixels", "scores")
    assert [node.op_type for node in model.graph.node] == ["Conv", "Flatten"]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert b".py" not in path.read_bytes()


def test_an_input_and_an_output_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an input and an output are both called x"):
        export_onnx(nn.Flatten(), tmp_path / "n", images=crops(2, (1, 5, 5)), names=("x", "x"))
    assert not (tmp_path / "n").exists()


def test_what_torch_keeps_private_is_as_it_was_after_an_export() -> None:
    before = [vars(owner)[name] for owner, name, _ in _kept()]
    assert len(before) == 3, "this version of torch works it out in other places"
    with read_once():
        assert not {id(vars(owner)[name]) for owner, name, _ in _kept()} & set(map(id, before))
    assert [vars(owner)[name] for owner, name, _ in _kept()] == before


class InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        y *= 2
        return y.flatten(1)


@pytest.mark.parametrize(
    ("layers", "whole", "batch"),
    [
        ((nn.Conv2d(1, 4, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), True, None),
        ((nn.Conv2d(1, 4, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)), True, 2),
        ((nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()), False, 2),
        ((nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(2), InPlace()), False, 2),
    ],
)
def test_what_torch_need_not_take_apart_is_exported_the_same(
    layers: tuple[nn.Module, ...],
    whole: bool,
    batch: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, images = nn.Sequential(*layers).eval(), crops(4, (1, 6, 6))
    passes = importlib.import_module("torch.onnx._internal.exporter._fx_passes")
    own, taken = passes.decompose_with_registry, []
    with monkeypatch.context() as patch:
        patch.setattr(passes, "decompose_with_registry", lambda *a: (taken.append(1), own(*a))[1])
        export_onnx(network, tmp_path / "now.onnx", images=images, batch=batch)
        assert taken == ([] if whole else [1])
        patch.setattr("depthopt.export.onnx.undecomposed", contextlib.nullcontext)
        export_onnx(network, tmp_path / "torch.onnx", images=images, batch=batch)
        assert len(taken) == 1 + (not whole)
    assert passes.decompose_with_registry is own
    now, torchs = (load_onnx(tmp_path / f"{name}.onnx").graph for name in ("now", "torch"))
    assert [(n.op_type, list(n.attribute)) for n in now.node] == [
        (n.op_type, list(n.attribute)) for n in torchs.node
    ]
    assert [t.raw_data for t in now.initializer] == [t.raw_data for t in torchs.initializer]
    assert (now.input, now.output) == (torchs.input, torchs.output)


@pytest.mark.parametrize("opset", [14, 17, 18, 22])
def test_the_opset_can_be_chosen(opset: int, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(18, 4))
    export_onnx(network, tmp_path / "n.onnx", images=crops(8, (1, 5, 5)), opset=opset, batch=None)
    model = load_onnx(tmp_path / "n.onnx")
    assert model.opset_import[0].version == opset
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_an_opset_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Hardswish(), nn.Flatten())
    for opset in (9, 99):
        with pytest.raises(ModelError, match=f"opset {opset} "):
            export_onnx(network, tmp_path / "n.onnx", images=crops(1, (1, 5, 5)), opset=opset)


@pytest.mark.parametrize("batch", [None, 2])
def test_torchs_layout_in_memory_leaves_no_trace(batch: int | None, tmp_path: Path) -> None:
    layers = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    network = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    images = crops(8, (3, 6, 6)).to(memory_format=torch.channels_last)
    export_onnx(network, tmp_path / "n.onnx", images=images, batch=batch)
    kinds = [node.op_type for node in load_onnx(tmp_path / "n.onnx").graph.node]
    assert kinds == ["Conv", "GlobalAveragePool", "Flatten", "Gemm"]
    assert layers[0].weight.is_contiguous(memory_format=torch.channels_last)


class Pooled(nn.Module):
    """Global means, with the two dimensions kept or not, and in other orders."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        flat = x.mean((-1, -2)) + x.mean((2, 3), keepdim=True).flatten(1)
        return flat + x.mean(3).mean(2) + x.mean((1, 2, 3))[:, None]


def test_only_means_over_a_whole_image_are_global_pooling(tmp_path: Path) -> None:
    export_onnx(Pooled(), tmp_path / "n.onnx", images=crops(8, (1, 6, 6)), batch=None)
    kinds = Counter(node.op_type for node in load_onnx(tmp_path / "n.onnx").graph.node)
    assert kinds["GlobalAveragePool"] == 1, "and the same one is not computed twice"
    assert kinds["ReduceMean"] == 3


def test_uneven_padding_moves_into_the_convolution(tmp_path: Path) -> None:
    conv = make_conv(Convolution(1, 2, (3, 3), padding=(0, 2, 1, 0)))
    network = nn.Sequential(conv, nn.Flatten())
    export_onnx(network, tmp_path / "net.onnx", images=crops(2, (1, 6, 6)))
    assert [n.op_type for n in load_onnx(tmp_path / "net.onnx").graph.node] == ["Conv", "Flatten"]


class OneBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(8, -1)


class Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x).flatten(1)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (OneBatch(), r"needs a fixed batch; give the batch"),
        (Bessel(), r"ONNX has no operator for torch's prims\.bessel_j0"),
        (Branching(), r"data-dependent"),
    ],
)
def test_what_cannot_be_exported_is_told_in_one_line(
    network: nn.Module, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        export_onnx(network, tmp_path / "n.onnx", images=crops(8, (1, 6, 6)), batch=None)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    export_onnx(network, path, images=crops(1, (1, 6, 6)))
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtefactError, match=r"net\.onnx is not a whole ONNX file") as caught:
            load_onnx(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ArtefactError, match=r"nowhere\.onnx does not exist"):
        load_onnx(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize("wrong", [1.01, float("nan")])
def test_a_wrong_file_is_not_written(
    wrong: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(model: ir.Model) -> None:
        weight = model.graph.initializers["0.weight"]
        weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(wrong))

    monkeypatch.setattr("depthopt.export.onnx.simplify", spoil)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    with pytest.raises(CheckFailed, match=r"outputs differ from torch's by .* a\.onnx was not wr"):
        export_onnx(network, tmp_path / "a.onnx", images=crops(1, (1, 5, 5)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("batch", "needed"), [(2, 2), (None, 2)])
def test_fewer_images_than_a_batch_are_refused(
    batch: int | None, needed: int, tmp_path: Path
) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    with pytest.raises(DataError, match=rf"1 images cannot check an export of batch {needed}"):
        export_onnx(network, tmp_path / "a.onnx", images=crops(1, (1, 5, 5)), batch=batch)


def test_a_difference_is_relative_to_the_largest_logit() -> None:
    assert relative_difference(torch.tensor([1.0, -4.0]), torch.tensor([1.2, -4.0])) == (
        pytest.approx(0.05)
    )


def test_training_mode_is_restored(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()).train()
    export_onnx(network, tmp_path / "n.onnx", images=crops(2, (1, 6, 6)))
    assert network.training
    assert onnx.load(tmp_path / "n.onnx").graph.node[0].op_type == "Conv"
