"""``depthopt doctor`` as text, as JSON, and of a recipe."""

import json
import sys
from pathlib import Path

import pytest

from depthopt.cli.main import main
from depthopt.models.registry import create_model
from depthopt.models.weights import save_weights

RECIPE = """
model: {name: resnet10t, input_size: [1, 16, 16], checkpoint: weights.safetensors}
data: {source: digits, calibration_images: 128}
budget: {speedup: 1.5}
"""


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["depthopt", "doctor", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_a_model_is_shown_and_holds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("small:residual", "--input-size", "3,16,16", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    for title in ("understood", "exact", "proof", "installed"):
        assert f"\n{title}\n" in shown
    assert "holds    the traced network, on a batch of 2: bit for bit" in shown


def test_a_refusal_is_json_and_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("mlp_tiny", "--json", monkeypatch=monkeypatch) == 2, "timm knows no such model"
    capsys.readouterr()
    assert call("vit_tiny_patch16_224", "--input-size", "3,64,64", "--json",
                monkeypatch=monkeypatch) == 1  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert found["type"] == "Diagnosis"
    assert "the model refuses an input of 3x64x64" in found["refused"]


def test_a_recipe_s_network_has_its_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(RECIPE)
    assert call("recipe.yaml", monkeypatch=monkeypatch) == 2
    assert "weights.safetensors does not exist" in capsys.readouterr().err
    model = create_model("resnet10t", {"in_chans": 1, "num_classes": 10})
    save_weights(model, Path("weights.safetensors"))
    assert call("recipe.yaml", "--json", monkeypatch=monkeypatch) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert "at 1x16x16" in found["about"]
    assert found["proof"][-1] == {
        "what": "the traced network, on 8 images", "holds": True, "detail": "bit for bit",
    }  # fmt: skip
