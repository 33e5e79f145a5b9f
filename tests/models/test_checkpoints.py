"""Checkpoints of every kind: what is found in them, and what is refused, with what is said."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from depthopt.errors import ArtefactError
from depthopt.models.checkpoints import load_checkpoint
from depthopt.models.registry import create_model
from tests.malicious import read_carelessly, write_checkpoint
from tests.networks import Residual, randomised

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(seed: int = 0) -> nn.Module:
    return randomised(Residual(), seed)


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


KINDS: dict[str, tuple[Callable[[State], object], str]] = {
    "itself": (lambda s: s, "took all N tensors"),
    "state_dict": (lambda s: {"state_dict": s, "optimizer": {}}, "took state_dict of N tensors"),
    "averaged": (
        lambda s: {"model": prefixed(s, "x."), "state_dict_ema": s, "ema": 0.99},
        "took state_dict_ema of N tensors",
    ),
    "inside": (
        lambda s: {"model": {"state_dict": prefixed(s, "module.")}, "args": argparse.Namespace()},
        "took state_dict of model of N tensors, without the prefix module.",
    ),
    "figures": (
        lambda s: {"best_acc1": np.float64(81.5), "epoch": np.int64(9), "state_dict": s},
        "took state_dict of N tensors",
    ),
    "nested": (
        lambda s: {"state_dict": prefixed(s, "model._orig_mod.")},
        "took state_dict of N tensors, without the prefix model._orig_mod.",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["pth", "pt", "ckpt", "tar"])
def test_weights_are_found_and_it_is_said_where(kind: str, suffix: str) -> None:
    path, (pack, said) = Path(f"w.{suffix}"), KINDS[kind]
    state, network = trained().state_dict(), trained(1)
    torch.save(pack(state), path, _use_new_zipfile_serialization=suffix != "tar")
    found = load_checkpoint(network, path)
    assert found.said == f"w.{suffix}: {said.replace('N', str(len(state)))}"
    assert found.head_replaced is None
    assert all(torch.equal(network.state_dict()[name], state[name]) for name in state)


def test_numbers_beside_the_weights_are_told() -> None:
    beside = {"best_acc1": np.float64(81.5), "epoch": 9, "metric": torch.tensor(70.25)}
    others = {"arch": "resnet", "done": True, "acc": float("nan"), "sums": torch.ones(2)}
    torch.save({"state_dict": trained().state_dict(), **beside, **others}, "w.pth")
    found = load_checkpoint(trained(1), Path("w.pth"))
    assert found.figures == {"best_acc1": 81.5, "epoch": 9.0, "metric": 70.25}


def test_safetensors_with_a_prefix_are_read() -> None:
    state, network = trained().state_dict(), trained(1)
    save_file(prefixed(state, "_orig_mod.module."), "w.safetensors")
    assert (
        "without the prefix _orig_mod.module."
        in load_checkpoint(network, Path("w.safetensors")).said
    )
    assert all(torch.equal(network.state_dict()[name], state[name]) for name in state)


def test_a_prefix_that_is_the_networks_own_is_kept() -> None:
    network, loaded = nn.Sequential(), nn.Sequential()
    network.add_module("module", trained())
    loaded.add_module("module", trained(1))
    torch.save(network.state_dict(), "w.pth")
    assert "prefix" not in load_checkpoint(loaded, Path("w.pth")).said


def test_what_else_a_training_kept_beside_the_network_is_left_out() -> None:
    state = prefixed(trained().state_dict(), "model.")
    torch.save({"state_dict": {**state, "loss.weight": torch.ones(3)}}, "w.ckpt")
    found = load_checkpoint(trained(1), Path("w.ckpt"))
    assert found.said.endswith("left out 1 that are not the network's, such as loss.weight")


def test_counters_that_old_checkpoints_lack_are_none_that_matter() -> None:
    state = {k: v for k, v in trained().state_dict().items() if "num_batches" not in k}
    torch.save(state, "w.pth")
    assert load_checkpoint(trained(1), Path("w.pth")).head_replaced is None


def of(outputs: int | None) -> nn.Module:
    arguments = {} if outputs is None else {"outputs": outputs}
    return create_model("small:residual", {"channels": 1, **arguments})


def test_a_head_of_another_size_is_left_as_it_was_made() -> None:
    torch.save({"state_dict": prefixed(of(4).state_dict(), "module.")}, "w.pth")
    network = of(10)
    before = network.fc.weight.clone()
    found = load_checkpoint(network, Path("w.pth"))
    assert found.head_outputs == 4
    assert found.head_replaced is not None
    assert "its last layer fc gives 4 numbers, the network's gives 10" in found.head_replaced
    assert found.said.endswith("has to be trained")
    assert torch.equal(network.fc.weight, before)


def test_a_head_that_is_missing_is_left_as_it_was_made() -> None:
    torch.save({k: v for k, v in of(4).state_dict().items() if not k.startswith("fc.")}, "w.pth")
    found = load_checkpoint(of(10), Path("w.pth"))
    assert found.head_replaced is not None
    assert "its last layer fc is missing" in found.head_replaced
    assert found.head_outputs is None
    rest = {k: v for k, v in of(10).state_dict().items() if not k.startswith("3.conv1")}
    torch.save(rest, "w.pth")
    with pytest.raises(ArtefactError, match=r"3\.conv1\.weight is missing"):
        load_checkpoint(of(10), Path("w.pth"))


def test_weights_that_are_no_numbers_are_refused() -> None:
    state = trained().state_dict()
    name = next(iter(state))
    torch.save({**state, name: state[name] * float("nan")}, "w.pth")
    with pytest.raises(ArtefactError, match=f"w.pth: {name} holds NaN or infinite"):
        load_checkpoint(trained(1), Path("w.pth"))


@pytest.mark.parametrize("pack", [lambda m: m, lambda m: {"model": m, "epoch": 3}])
def test_a_pickle_of_a_network_is_refused_with_what_to_save(
    pack: Callable[[nn.Module], object],
) -> None:
    torch.save(pack(trained()), "w.pth")
    with pytest.raises(ArtefactError, match=r"Python object, tests.networks.Residual;.*state_dict"):
        load_checkpoint(trained(1), Path("w.pth"))


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_nothing_in_a_checkpoint_is_run(kind: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "w.pth", tmp_path / "mark"
    write_checkpoint(path, mark, kind)
    with pytest.raises(ArtefactError):
        load_checkpoint(trained(), path)
    assert not mark.exists()
    read_carelessly(path)
    assert mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"net": {"a": torch.ones(1)}}, r"under 'net': save that alone, torch\.save\("),
        ({"epoch": 3}, r"holds no weights under state_dict_ema, .*; its keys are \['epoch'\]"),
        ([1, 2], "holds a list, expected weights by name"),
    ],
)
def test_a_file_without_weights_says_what_it_holds(content: object, message: str) -> None:
    torch.save(content, "w.pth")
    with pytest.raises(ArtefactError, match=message):
        load_checkpoint(trained(), Path("w.pth"))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    torch.save(trained().state_dict(), "w.pth")
    Path("w.pth").write_bytes(Path("w.pth").read_bytes()[:-300])
    for content in (None, b"no checkpoint", b""):
        if content is not None:
            Path("w.pth").write_bytes(content)
        with pytest.raises(ArtefactError, match=r"w\.pth is not a whole checkpoint") as caught:
            load_checkpoint(trained(), Path("w.pth"))
        assert "\n" not in str(caught.value)
    with pytest.raises(ArtefactError, match="does not exist"):
        load_checkpoint(trained(), tmp_path / "none.pth")


def test_a_file_that_is_far_too_large_is_not_read() -> None:
    with Path("w.pth").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    begin = time.monotonic()
    with pytest.raises(ArtefactError, match=r"w\.pth has more than .* weights alone"):
        load_checkpoint(trained(), Path("w.pth"))
    assert time.monotonic() - begin < 60


def test_another_networks_is_named() -> None:
    """Of one family, whose names are nearly those of the network."""
    with torch.device("meta"):
        other = create_model("resnet34", {"num_classes": 4}).state_dict()
    torch.save({k: torch.zeros(()).expand(t.shape) for k, t in other.items()}, "w.pth")
    network = create_model("resnet18", {})
    with pytest.raises(ArtefactError) as caught:
        load_checkpoint(network, Path("w.pth"), name="resnet18")
    said = str(caught.value)
    assert said.startswith("w.pth does not fit resnet18: 120 of its 218 tensors fit, of 122 that")
    assert "layer1.2.conv1.weight is not the network's" in said
    assert said.endswith("; its names are those of resnet34")
    assert "\n" not in said
