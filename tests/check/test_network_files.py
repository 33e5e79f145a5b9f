"""What a side is: files, engines, saved networks."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto

import depthopt
from depthopt.check.judge import Judge
from depthopt.check.memory import peak_memory_bytes
from depthopt.check.network_files import batch_of, side_of
from depthopt.errors import CheckFailed, ModelError, UsageError
from depthopt.runtimes.registry import get_runtime
from tests.check.models import convolutions, linear
from tests.plans import plan_of

RUNTIME = get_runtime("onnxruntime")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A classifier of digits with random weights, for four images at once."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    path = tmp_path_factory.mktemp("sides") / "digits.onnx"
    depthopt.export_onnx(model, path, images=torch.randn(4, 1, 16, 16), batch=4)
    return model, path


def side(path, scratch, batch=1):
    return side_of(path, runtime=RUNTIME, batch=batch, scratch=scratch)


def test_a_file_is_read_with_the_weights_that_it_names(tmp_path):
    path = convolutions(tmp_path / "model.onnx", 3)
    alone = side(path, tmp_path)
    assert alone.size_bytes == path.stat().st_size
    assert alone.parameters >= 3 * 16 * 16 * 9
    assert alone.input_shapes == {"x": (1, 16, 24, 24)}
    parted, weights = tmp_path / "parted.onnx", tmp_path / "weights.bin"
    onnx.save(
        onnx.load(path), parted, save_as_external_data=True, location=weights.name, size_threshold=0
    )
    both = side(parted, tmp_path)
    assert both.size_bytes == parted.stat().st_size + weights.stat().st_size
    assert both.parameters == alone.parameters
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert side(parted, tmp_path).sha256 != both.sha256


def in_constants(path):
    """The same weights in nodes instead of initialisers."""
    model = onnx.load(path)
    held = list(model.graph.initializer)
    nodes = [onnx.helper.make_node("Constant", [], [t.name], value=t) for t in held]
    nodes += list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_weights_in_nodes_count_as_those_in_initialisers(tmp_path):
    path = convolutions(tmp_path / "model.onnx", 3)
    onnx.save(in_constants(path), tmp_path / "constants.onnx")
    assert side(tmp_path / "constants.onnx", tmp_path).parameters == side(path, tmp_path).parameters
    beside = in_constants(path)
    onnx.external_data_helper.convert_model_to_external_data(
        beside, location="w.bin", size_threshold=0, convert_attribute=True
    )
    onnx.save(beside, tmp_path / "beside.onnx")
    before = side(tmp_path / "beside.onnx", tmp_path)
    files = [tmp_path / "beside.onnx", tmp_path / "w.bin"]
    assert before.size_bytes == sum(file.stat().st_size for file in files)
    content = bytearray(files[1].read_bytes())
    content[3] ^= 1
    files[1].write_bytes(content)
    assert side(files[0], tmp_path).sha256 != before.sha256


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("gone.bin", r"keeps weights in .*gone.bin, which does not exist; put it there"),
        ("../out.bin", r"keeps weights in '../out.bin', outside its folder"),
        ("/etc/hostname", "outside its folder"),
        (r"..\out.bin", "outside its folder"),
        (r"C:\out.bin", "outside its folder"),
        ("", "outside its folder"),
    ],
)
def test_files_of_weights_that_are_not_there_or_not_beside_are_named(location, message, tmp_path):
    model = onnx.load(convolutions(tmp_path / "model.onnx", 1))
    onnx.external_data_helper.convert_model_to_external_data(
        model, location="w.bin", size_threshold=0
    )
    onnx.save(model, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = location if entry.key == "location" else entry.value
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path.parent / "out.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=message) as caught:
        side(tmp_path / "model.onnx", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_network_that_does_not_run_is_named(tmp_path):
    value = onnx.helper.make_tensor_value_info
    seven = onnx.numpy_helper.from_array(np.array([7, -1]), "shape")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "misfit",
        [value("x", TensorProto.FLOAT, ["batch", 3])],
        [value("y", TensorProto.FLOAT, [7, None])],
        [seven],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "misfit.onnx"
    )
    with pytest.raises(ModelError, match=r"misfit\.onnx does not run on random inputs"):
        side(tmp_path / "misfit.onnx", tmp_path)


class Loader:
    """A runtime that loads engines, which are ONNX files here."""

    name = "loader"

    def load_engine(self, path):
        return RUNTIME.compile(path.read_bytes())


def test_an_engine_is_loaded_by_a_runtime_that_can(tmp_path):
    engine = convolutions(tmp_path / "network.engine", 3)
    found = side_of(engine, runtime=Loader(), batch=1, scratch=tmp_path)
    assert found.is_engine
    assert found.parameters is None
    assert found.input_shapes == {"x": (1, 16, 24, 24)}
    with pytest.raises(UsageError, match="which onnxruntime cannot load; use --runtime tensorrt"):
        side(engine, tmp_path)


def test_a_saved_network_is_exported(tmp_path, exported):
    model, _ = exported
    chain = depthopt.extract(model, (1, 16, 16), name="test_resnet")
    plan = plan_of(chain)
    network = depthopt.apply(model, chain, plan, fitting=[torch.randn(8, 1, 16, 16)])
    folder = tmp_path / "saved"
    depthopt.save(network, folder, plan, arguments={"in_chans": 1, "num_classes": 10})
    found = side(folder, tmp_path, batch=2)
    assert found.input_shapes == {"image": (2, 1, 16, 16)}
    assert found.path.suffix == ".onnx"
    assert batch_of(2, found) == 2


def test_the_batch_is_the_models_own(tmp_path, exported):
    found = side(exported[1], tmp_path)
    free = replace(found, input_shapes={"image": (None, 1, 16, 16)})
    assert batch_of(1, found) == batch_of(4, found) == batch_of(1, free, found) == 4
    assert batch_of(3, free) == 3
    with pytest.raises(UsageError, match="takes 4 images per inference, but --batch is 2"):
        batch_of(2, found)


def test_accuracy_is_that_of_the_network_before_export(tmp_path, exported):
    model, path = exported
    data = depthopt.load_dataset("digits", input_size=(1, 16, 16), calibration_images=1, seed=0)
    images, labels = next(data.test.batches(449))
    with torch.no_grad():
        wanted = 100 * float((model.eval()(images).argmax(1) == labels).float().mean())
    assert Judge("digits", "classification", RUNTIME)(side(path, tmp_path)) == pytest.approx(wanted)


def test_accuracy_needs_images(tmp_path):
    builder_input = convolutions(tmp_path / "a.onnx", 1)
    found = side(builder_input, tmp_path)
    free = type(found)(found.name, found.path, "", 0, 0, {"x": (1, 7)})
    with pytest.raises(ModelError, match="leave out --data"):
        Judge("digits", "classification", RUNTIME)(free)


def test_accuracy_needs_the_data_sets_classes(tmp_path):
    seven = side(linear(tmp_path / "seven.onnx", np.zeros((65, 7))), tmp_path)
    with pytest.raises(ModelError, match="gives 7 numbers for an image, digits has 10 classes"):
        Judge("digits", "classification", RUNTIME)(seven)


def test_a_task_that_imitates_needs_the_original(tmp_path, exported):
    _, path = exported
    with pytest.raises(UsageError, match="which a check does not have; leave out --data"):
        Judge("digits", "matching", RUNTIME)(side(path, tmp_path))


def test_a_saved_network_whose_onnx_file_is_wrong_is_no_regression(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise CheckFailed("the outputs differ")

    monkeypatch.setattr("depthopt.export.saved.load", fails)
    folder = tmp_path / "saved"
    folder.mkdir()
    with pytest.raises(ModelError, match="saved cannot be checked as ONNX: the outputs differ"):
        side(folder, tmp_path)


def test_peak_memory_holds_the_weights(tmp_path):
    peak = peak_memory_bytes(convolutions(tmp_path / "a.onnx", 40), RUNTIME, 1)
    assert peak is None or 40 * 16 * 16 * 9 * 4 < peak < 200 << 20


def test_what_does_not_run_in_a_process_of_its_own_is_named(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"broken\.onnx"):
        peak_memory_bytes(path, RUNTIME, 1)
