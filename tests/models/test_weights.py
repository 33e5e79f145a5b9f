from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from depthopt.errors import ArtefactError
from depthopt.models.weights import load_weights, save_weights
from tests.networks import Residual


def test_weights_come_back_from_their_file(tmp_path: Path) -> None:
    saved, loaded = Residual(), Residual()
    save_weights(saved, tmp_path / "w.safetensors")
    load_weights(loaded, tmp_path / "w.safetensors")
    for name, tensor in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_files_that_are_not_this_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(ArtefactError, match="does not exist"):
        load_weights(Residual(), path)
    save_weights(torch.nn.Linear(2, 2), path)
    with pytest.raises(ArtefactError, match="does not fit Residual"):
        load_weights(Residual(), path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match="not whole safetensors"):
        load_weights(Residual(), path)


def test_changed_weights_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(Residual(), path)
    whole = path.read_bytes()
    for place in (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ArtefactError, match=r"was changed after .*; start the run again"):
            load_weights(Residual(), path, own=True, instead="start the run again")


def test_another_programs_weights_are_read_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.safetensors"
    save_file(Residual().state_dict(), path)
    load_weights(Residual(), path)
    assert not caplog.messages
    for _ in range(2):
        load_weights(Residual(), path, own=True)
    (said,) = caplog.messages
    assert said.startswith(f"{path} carries no sha256")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: weight.int(), "is of type torch.int32, expected torch.float32"),
        (lambda weight: weight * float("nan"), "holds NaN or infinite values"),
        (lambda weight: weight / 0, "holds NaN or infinite values"),
    ],
)
def test_what_is_no_weight_is_refused(change: object, message: str, tmp_path: Path) -> None:
    tensors = Residual().state_dict()
    name = next(iter(tensors))
    save_file(tensors | {name: change(tensors[name])}, tmp_path / "w.safetensors")
    with pytest.raises(ArtefactError, match=message):
        load_weights(Residual(), tmp_path / "w.safetensors")


def test_what_does_not_fit_is_told_in_the_order_of_names(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({f"x{i}": torch.zeros(1) for i in range(9)}, path)
    names = ", ".join(f'"x{i}"' for i in range(9))
    with pytest.raises(ArtefactError, match=rf"Unexpected key\(s\) in state_dict: {names}"):
        load_weights(Residual(), path)


def test_a_file_that_is_too_large_for_its_network_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(ArtefactError, match=r"w.safetensors is not whole .*it has more than"):
        load_weights(torch.nn.Linear(2, 2), path)
