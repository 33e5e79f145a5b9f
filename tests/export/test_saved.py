import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnxruntime as ort
import pytest
import timm
import torch
from torch import nn

from depthopt.core import digests
from depthopt.core.candidate import kept_blocks
from depthopt.core.plan import Plan
from depthopt.errors import ArtefactError, ModelError
from depthopt.export import saved as saved_module
from depthopt.export.onnx import relative_difference
from depthopt.export.saved import load, load_saved, save
from depthopt.extraction.extract import extract
from depthopt.graph.network import TracedNetwork
from depthopt.graph.original import deepcopied
from depthopt.kinds.candidates import candidates
from depthopt.models.registry import create_model, model_arguments
from depthopt.models.source import Argument
from depthopt.models.weights import load_weights, save_weights
from depthopt.shallow.apply import apply
from depthopt.shallow.fuse import fuse
from tests.malicious import read_carelessly, write_checkpoint
from tests.networks import Residual, randomised
from tests.plans import random_plan
from tests.real_images import crops
from tests.resealed import write_resealed

SIZE = (1, 32, 32)
SMALL = "small:residual"
ARGUMENTS = model_arguments(SMALL, SIZE, 5)
TIMM_ARGUMENTS = {"in_chans": 1, "num_classes": 5}


def shallow(name: str, arguments: dict[str, Argument]) -> tuple[TracedNetwork, Plan]:
    model = randomised(create_model(name, arguments))
    chain = extract(model, SIZE, name=name)
    plan = random_plan(chain, candidates(chain, kinds=("drop", "merge")), seed=1)
    return apply(model, chain, plan, form="expanded"), plan


@pytest.fixture(scope="module")
def compressed() -> tuple[TracedNetwork, Plan]:
    return shallow(SMALL, ARGUMENTS)


@pytest.fixture(scope="module")
def of_timm() -> tuple[TracedNetwork, Plan]:
    return shallow("mobilenetv2_035", TIMM_ARGUMENTS)


@torch.no_grad()
def test_a_saved_network_loads_with_the_same_logits(compressed, tmp_path: Path) -> None:
    network, plan = compressed
    images = torch.randn(3, *SIZE)
    for form, saved in (("trained", network), ("fused", fuse(network))):
        save(saved, tmp_path / form, plan, arguments=ARGUMENTS, class_names=tuple("abcde"))
        assert torch.equal(load(tmp_path / form)(images), saved(images))
    assert sorted(p.name for p in (tmp_path / "fused").iterdir()) == [
        "model.json", "model.safetensors",
    ]  # fmt: skip


def test_it_loads_in_a_process_that_never_saw_the_original_by_timm_too(
    of_timm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By ``depthopt.load``, and as docs/guides/python.md says that timm makes it."""
    network, plan = of_timm
    fused = fuse(network)
    save(fused, tmp_path / "resnet18-2x", plan, arguments=TIMM_ARGUMENTS)
    torch.manual_seed(0)
    images = torch.randn(2, *SIZE)
    save_weights(_Holder(images), tmp_path / "images.safetensors")
    page = (Path(__file__).parents[2] / "docs" / "guides" / "python.md").read_text()
    (example,) = [
        code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "register" in code
    ]
    monkeypatch.chdir(tmp_path)
    script = (
        "import torch, depthopt\n"
        "from safetensors.torch import load_file, save_file\n"
        "images = load_file('images.safetensors')['images']\n"
        "with torch.no_grad(): logits = depthopt.load('resnet18-2x')(images)\n"
        "save_file({'images': logits}, 'logits.safetensors')\n"
        f"{example}\nprint(network(torch.ones(1, 1, 32, 32)).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    logits = _Holder(torch.zeros(2, 5))
    load_weights(logits, tmp_path / "logits.safetensors")
    with torch.no_grad():
        assert torch.equal(logits.images, fused(images))
        wanted = fused(torch.ones(1, *SIZE))
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), wanted)


def test_what_was_exported_of_another_network_goes(compressed, tmp_path: Path) -> None:
    network, plan = compressed
    for name in ("model.onnx", "model.xml", "model.bin", "model.engine", "notes.txt"):
        (tmp_path / name).write_text("of another network")
    save(network, tmp_path, plan, arguments=ARGUMENTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.json", "model.safetensors", "notes.txt",
    ]  # fmt: skip


class _Holder(nn.Module):
    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("images", images)


def test_damaged_folders_are_refused(compressed, tmp_path: Path) -> None:
    network, plan = compressed
    save(network, tmp_path, plan, arguments=ARGUMENTS)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(ArtefactError, match="not whole safetensors"):
        load(tmp_path)
    save_weights(Residual(), tmp_path / "model.safetensors")
    with pytest.raises(ArtefactError, match="does not fit"):
        load(tmp_path)
    with pytest.raises(ArtefactError, match="does not exist"):
        load(tmp_path / "nowhere")


def test_the_files_of_two_networks_do_not_mix(
    compressed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, plan = compressed
    monkeypatch.setattr(saved_module, "_check_can_be_loaded", lambda *_: None)
    other = deepcopied(network)
    with torch.no_grad():
        next(other.parameters()).add_(0.5)
    for name, one in (("a", network), ("b", other)):
        save(one, tmp_path / name, plan, arguments=ARGUMENTS)
    shutil.copy(tmp_path / "a/model.safetensors", tmp_path / "b/model.safetensors")
    with pytest.raises(ArtefactError, match=r"is not the file that was written here; save the"):
        load(tmp_path / "b")
    (tmp_path / "a/model.safetensors").unlink()
    with pytest.raises(ArtefactError, match="does not exist"):
        load(tmp_path / "a")


class _Killed(BaseException):
    """Ends a save between two of its writes."""


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("stop", range(4))
def test_a_save_that_is_stopped_leaves_no_mixture(
    earlier: bool, stop: int, compressed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of its writes, over another network's folder, of this version or an earlier one."""
    network, plan = compressed
    folder, exported, later = tmp_path / "net", tmp_path / "model.onnx", deepcopied(network)
    with torch.no_grad():
        next(later.parameters()).add_(0.5)
    monkeypatch.setattr(saved_module, "_check_can_be_loaded", lambda *_: None)
    old = save(network, folder, plan, arguments=ARGUMENTS)
    exported.write_bytes(b"of the later network")
    if earlier:
        content = json.loads((folder / "model.json").read_text())
        del content["weights"]
        write_resealed(folder / "model.json", content)
    real, writes = Path.replace, iter(range(9))

    def stopped(path: Path, target: Path) -> Path:
        if next(writes) == stop:
            raise _Killed
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        with pytest.raises(_Killed):
            saved_module._written(later, replace(old, crop_pct=0.5), folder, exported)
    if earlier and stop < 2:
        assert not (folder / "model.json").exists()
        return
    said, weights = load_saved(folder), digests.of_file(folder / "model.safetensors")
    assert said.crop_pct == (1.0 if stop < 2 else 0.5)
    assert (said.weights == weights) == (stop != 1), "or else it is refused"
    assert (weights == old.weights) == (stop == 0)
    assert (folder / "model.onnx").exists() == (stop == 3)


@torch.no_grad()
def test_with_images_the_folder_holds_an_onnx_file_that_says_what_it_is(
    compressed, tmp_path: Path
) -> None:
    network, plan = compressed
    fused, images = fuse(network), crops(8, SIZE)
    look = {"mean": (0.3,), "std": (0.4,), "crop_pct": 0.9, "class_names": tuple("abcde")}
    save(fused, tmp_path, plan, arguments=ARGUMENTS, images=images, **look)
    session = ort.InferenceSession(tmp_path / "model.onnx")
    for batch in (1, 8):
        got = torch.from_numpy(session.run(None, {"image": images[:batch].numpy()})[0])
        assert relative_difference(fused(images[:batch]), got) < 1e-4
    told = session.get_modelmeta().custom_metadata_map
    keys = json.dumps([choice.key for choice in plan.choices]).encode()
    assert told["depthopt.model"] == SMALL
    assert told["depthopt.plan_sha256"] == hashlib.sha256(keys).hexdigest()
    assert json.loads(told["depthopt.input_size"]) == [1, 32, 32]
    for name, value in look.items():
        assert json.loads(told[f"depthopt.{name}"]) == (
            list(value) if isinstance(value, tuple) else value
        )


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_malicious_checkpoint_is_refused_and_not_executed(
    kind: str, compressed, tmp_path: Path
) -> None:
    network, plan = compressed
    save(network, tmp_path, plan, arguments=ARGUMENTS)
    weights, mark = tmp_path / "model.safetensors", tmp_path / "mark"
    write_checkpoint(weights, mark, kind)
    with pytest.raises(
        ArtefactError, match=r"model\.safetensors is not whole safetensors"
    ) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    read_carelessly(weights)
    assert mark.exists(), "it would have worked"


def test_a_folder_that_names_a_checkpoint_of_its_own_is_refused(of_timm, tmp_path: Path) -> None:
    network, plan = of_timm
    write_checkpoint(tmp_path / "other.pth", tmp_path / "mark", "torch")
    arguments = TIMM_ARGUMENTS | {"checkpoint_path": str(tmp_path / "other.pth")}
    with pytest.raises(ModelError, match="checkpoint_path of mobilenetv2_035 is not read"):
        save(network, tmp_path, plan, arguments=arguments)
    save(network, tmp_path, plan, arguments=TIMM_ARGUMENTS)
    saved = json.loads((tmp_path / "model.json").read_text())
    saved["arguments"] = arguments
    del saved["sha256"]
    (tmp_path / "model.json").write_text(json.dumps(saved))
    with pytest.raises(ModelError, match="checkpoint_path of mobilenetv2_035 is not read"):
        load(tmp_path)
    assert not (tmp_path / "mark").exists()


def test_weights_are_never_fetched_by_a_saved_network(
    of_timm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, plan = of_timm
    save(network, tmp_path, plan, arguments=TIMM_ARGUMENTS | {"pretrained": True})
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: 1 / 0)
    load(tmp_path)


def kept(model: nn.Module, size: tuple[int, int, int], name: str) -> tuple[nn.Module, Plan]:
    """The model applied with a plan that changes nothing."""
    chain = extract(model, size, name=name)
    plan = Plan(name, size, kept_blocks(chain), 1.0, 1.0, 0.0)
    return apply(model, chain, plan), plan


def with_seven_classes() -> nn.Module:
    model = timm.create_model("test_resnet")
    model.reset_classifier(7)
    return model


@pytest.mark.parametrize(
    ("model", "size", "why"),
    [
        (with_seven_classes, (3, 32, 32), r"fc\.weight would be \(1000, 96\) and is \(7, 96\)"),
        (lambda: timm.create_model("test_resnet", in_chans=1), (1, 32, 32), "refuses an input"),
        (lambda: timm.create_model("test_resnet", act_layer=nn.SiLU), (3, 32, 32), "differ by"),
        (lambda: timm.create_model("test_resnet", drop_rate=0.1), (3, 32, 32), None),
        (Residual, (2, 9, 9), "no model 'test_resnet_of_mine'"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_saved(
    model: Callable[[], nn.Module], size: tuple[int, int, int], why: str | None, tmp_path: Path
) -> None:
    made = model().eval()
    name = "test_resnet" if hasattr(made, "default_cfg") else "test_resnet_of_mine"
    network, plan = kept(made, size, name)
    if why is None:
        save(network, tmp_path / "there", plan)
        return
    with pytest.raises(ModelError, match=f"could not be loaded again: .*{why}"):
        save(network, tmp_path / "there", plan)
    assert not (tmp_path / "there").exists()


def test_a_network_is_loaded_in_the_type_that_it_was_saved_in(tmp_path: Path) -> None:
    network, plan = kept(create_model("small:residual", {}), (3, 8, 8), "small:residual")
    for dtype in (torch.float64, torch.bfloat16):
        save(deepcopied(network).to(dtype), tmp_path, plan)
        assert next(load(tmp_path).parameters()).dtype == dtype
