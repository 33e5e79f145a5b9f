import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from depthopt.errors import ArtefactError, ModelError
from depthopt.export import load, save
from depthopt.export.saved import create_timm_model, load_weights, save_weights
from depthopt.extraction import candidates, extract
from depthopt.rewrite import apply, merge
from tests.networks import Residual, randomised
from tests.plans import random_plan

SIZE = (1, 32, 32)
ARGUMENTS = {"in_chans": 1, "num_classes": 5}


@pytest.fixture(scope="module")
def compressed() -> tuple[nn.Module, object]:
    model = randomised(timm.create_model("mobilenetv2_035", **ARGUMENTS))
    chain = extract(model, SIZE, name="mobilenetv2_035")
    plan = random_plan(chain, candidates(chain, kinds=("drop", "merge")), seed=1)
    return apply(model, chain, plan, form="expanded"), plan


@torch.no_grad()
def test_a_saved_network_loads_with_the_same_logits(compressed, tmp_path: Path) -> None:
    network, plan = compressed
    images = torch.randn(3, *SIZE)
    for form, saved in (("trained", network), ("fused", merge(network))):
        save(saved, tmp_path / form, plan, arguments=ARGUMENTS, class_names=tuple("abcde"))
        assert torch.equal(load(tmp_path / form)(images), saved(images))
    assert sorted(p.name for p in (tmp_path / "fused").iterdir()) == [
        "model.json", "model.safetensors",
    ]  # fmt: skip


def test_it_loads_in_a_process_that_never_saw_the_original(compressed, tmp_path: Path) -> None:
    network, plan = compressed
    fused = merge(network)
    save(fused, tmp_path / "m", plan, arguments=ARGUMENTS)
    torch.manual_seed(0)
    images = torch.randn(2, *SIZE)
    save_weights(_Holder(images), tmp_path / "images.safetensors")
    script = (
        "import sys, torch, depthopt; from pathlib import Path\n"
        "from safetensors.torch import load_file, save_file\n"
        "folder = Path(sys.argv[1]); images = load_file(folder / 'images.safetensors')['images']\n"
        "with torch.no_grad(): logits = depthopt.load(folder / 'm')(images)\n"
        "save_file({'images': logits}, folder / 'logits.safetensors')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    logits = _Holder(torch.zeros(2, 5))
    load_weights(logits, tmp_path / "logits.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(logits.images, fused(images), rtol=1e-6, atol=1e-6)


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
    with pytest.raises(ModelError, match="timm knows no model 'mobilenetv2_1000'; did you mean"):
        create_timm_model("mobilenetv2_1000", {})
