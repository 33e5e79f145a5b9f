from pathlib import Path

import pytest
import torch
from torch import nn

from depthopt.errors import ArtefactError, CheckFailed
from depthopt.export.onnx import export_onnx, relative_difference
from depthopt.export.openvino import export_openvino
from depthopt.runtimes.registry import get_runtime
from tests.networks import Residual
from tests.real_images import crops

pytest.importorskip("openvino")


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(32, 3)).eval()


@torch.no_grad()
@pytest.mark.parametrize("batch", [None, 2])
def test_the_files_run_in_float32_as_the_network_does(batch: int | None, tmp_path: Path) -> None:
    network, images = Residual(), crops(100, (3, 16, 16))[:, :2]
    export_onnx(network, tmp_path / "net.onnx", images=images, batch=batch)
    path = tmp_path / "ir" / "net.xml"
    assert export_openvino(network, tmp_path / "net.onnx", path, images=images) < 1e-5
    assert sorted(p.name for p in path.parent.iterdir()) == ["net.bin", "net.xml"]
    assert path.with_suffix(".bin").stat().st_size >= sum(
        4 * m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d)
    ), "weights are in float32"
    session = get_runtime("openvino").compile(path)
    for size in (1, 8) if batch is None else (batch,):
        got = session.run({"image": images[:size].numpy()})[0]
        assert relative_difference(network(images[:size]), torch.from_numpy(got.copy())) < 1e-5


def test_files_that_fail_the_check_are_not_written(tmp_path: Path) -> None:
    images = crops(8, (1, 6, 6))
    export_onnx(small(), tmp_path / "net.onnx", images=images)
    with pytest.raises(CheckFailed, match=r"OpenVINO's outputs differ .* net\.xml was not written"):
        export_openvino(small(), tmp_path / "net.onnx", tmp_path / "net.xml", images=images)
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    images = crops(8, (1, 6, 6))
    path = tmp_path / "net.onnx"
    export_onnx(small(), path, images=images)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ArtefactError, match=r"net\.onnx is not a whole ONNX file"):
        export_openvino(small(), path, tmp_path / "net.xml", images=images)
