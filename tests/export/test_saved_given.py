"""Saved networks that no name makes: the original is given again, and nothing is imported."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from depthopt.check.network_files import side_of
from depthopt.cli.main import main
from depthopt.core.artefacts import save_json
from depthopt.core.plan import Plan
from depthopt.errors import ModelError, UsageError
from depthopt.export.saved import load, load_saved, save
from depthopt.extraction.extract import extract
from depthopt.graph.network import TracedNetwork
from depthopt.kinds.candidates import candidates
from depthopt.models.memory import memory_name
from depthopt.models.registry import create_model
from depthopt.runtimes.registry import get_runtime
from depthopt.shallow.apply import apply
from tests.networks import Residual, randomised
from tests.plans import random_plan
from tests.user_models import write_model

SIZE = (2, 16, 16)
EVIL = ("evil.py:build", "evil:build", "os:system", "evil.inner:build", "../evil.py:build")


def shallow(name: str | None = None) -> tuple[nn.Module, TracedNetwork, Plan]:
    model = randomised(Residual())
    chain = extract(model, SIZE, name=name)
    plan = random_plan(chain, candidates(chain, kinds=("drop", "merge")), seed=1)
    return model, apply(model, chain, plan), plan


@torch.no_grad()
@pytest.mark.parametrize("name", [None, "my_net.py:Residual-0123456789ab"])
def test_it_loads_with_what_makes_the_original(name: str | None, tmp_path: Path) -> None:
    model, network, plan = shallow(name)
    images = torch.randn(2, *SIZE)
    with pytest.raises(UsageError):
        save(network, tmp_path, plan)
    saved = save(network, tmp_path, plan, model=Residual)
    assert saved.name.startswith("memory:Residual-" if name is None else "my_net.py:Residual-")
    for given in (Residual, model, lambda: randomised(Residual(), 5)):
        assert torch.equal(load(tmp_path, model=given)(images), network(images))
    with pytest.raises(UsageError, match=r"holds a network of .*load\(FOLDER, model=build\)"):
        load(tmp_path)
    with pytest.raises(ModelError):
        load(tmp_path, model=lambda: nn.Sequential(nn.Conv2d(2, 4, 3)))


def test_the_original_itself_may_be_given(tmp_path: Path) -> None:
    model, network, plan = shallow()
    assert save(network, tmp_path, plan, model=model).name == memory_name(model)
    assert isinstance(load(tmp_path, model), TracedNetwork)


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose working directory holds code that a saved network may name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text("import pathlib\npathlib.Path('mark').touch()\n")
    _, network, plan = shallow()
    save(network, tmp_path / "saved", plan, model=Residual)
    return tmp_path


@pytest.mark.parametrize("name", EVIL)
def test_a_folder_imports_nothing(name: str, evil: Path) -> None:
    saved = load_saved(evil / "saved")
    told = replace(saved, name=name, arguments={"command": "touch mark"})
    save_json(told, evil / "saved" / "model.json")
    runtime = get_runtime("onnxruntime")
    with pytest.raises(UsageError, match="never runs code because a file names it"):
        load(evil / "saved")
    with pytest.raises(UsageError, match="never runs code because a file names it"):
        side_of(evil / "saved", runtime=runtime, batch=1, scratch=evil)
    assert "evil" not in sys.modules
    assert not (evil / "mark").exists()


def test_predict_imports_nothing(
    evil: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = load_saved(evil / "saved")
    told = replace(saved, name="evil.py:build", mean=(0.5, 0.5), std=(0.5, 0.5))
    save_json(told, evil / "saved" / "model.json")
    (evil / "a.png").write_bytes(b"")
    monkeypatch.setattr(sys, "argv", ["depthopt", "predict", "saved", "a.png"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "never runs code because a file names it" in capsys.readouterr().err
    assert not (evil / "mark").exists()


def test_predict_takes_what_makes_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path)
    model = randomised(create_model("my_model.py:build", {}, allow_code=True))
    chain = extract(model, (1, 16, 16), name="my_model.py:build")
    plan = random_plan(chain, candidates(chain, kinds=("merge",)), seed=1)
    save(apply(model, chain, plan), "saved", plan, model=model, mean=(0.5,), std=(0.5,))
    Image.new("L", (16, 16), 90).save("a.png")
    for given, code in (("my_model.py:build", 0), ("resnet18", 2)):
        words = ["depthopt", "predict", "saved", "a.png", "--json", "--model", given]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            main()
        assert (end.value.code or 0) == code
    found = capsys.readouterr()
    assert len(json.loads(found.out)[0]["classes"]) == 5
    assert "'resnet18' is not a callable" in found.err


def test_a_package_that_brought_the_source_is_named(tmp_path: Path) -> None:
    _, network, plan = shallow()
    saved = save(network, tmp_path, plan, model=Residual)
    told = replace(saved, name="blocks:3", packages={"blocks": "separable"})
    save_json(told, tmp_path / "model.json")
    with pytest.raises(UsageError, match="it came with the package separable: pip install"):
        load(tmp_path)


def test_what_a_name_makes_is_not_given_beside_it(tmp_path: Path) -> None:
    _, network, plan = shallow()
    saved = save(network, tmp_path, plan, model=Residual)
    save_json(replace(saved, name="small:residual"), tmp_path / "model.json")
    with pytest.raises(UsageError, match="made by its name; leave model out"):
        load(tmp_path, model=Residual)
