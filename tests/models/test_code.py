"""Networks that a user's callable makes: what they get, and every way in which they fail."""

import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from depthopt.errors import DepthoptError, ModelError, UsageError
from depthopt.models.code import made_by
from depthopt.models.head import new_head, with_outputs
from depthopt.models.importing import brought_modules
from depthopt.models.names import digest_of_code, runs_code, told_as
from depthopt.models.registry import create_model, model_arguments
from depthopt.models.sent import with_code
from tests.user_models import write_model

SIZE = (1, 16, 16)


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path)


def made(name: str, outputs: int | None = 5, **arguments: int) -> nn.Module:
    given = {**model_arguments(name, SIZE, outputs), **arguments}
    return create_model(name, given, allow_code=True)


@torch.no_grad()
@pytest.mark.parametrize("name", ["my_model.py:build", "my_model.py:wide", "my_model:build"])
def test_a_network_has_as_many_outputs_as_are_asked_for(name: str) -> None:
    network = made(name)
    assert network(torch.zeros(3, *SIZE)).shape == (3, 5)
    assert not network.training
    replaced = "its last layer fc gave 7 numbers, and is replaced by a new one of 5"
    assert new_head(network) == (None if name.endswith("wide") else replaced)
    assert made(name, None, **({"num_classes": 3} if name.endswith("wide") else {})) is not None


def test_arguments_of_its_own_reach_the_callable() -> None:
    assert made("my_model.py:wide", width=6).fc.in_features == 6
    assert made("my_model.py:needs", width=6, depth=1).fc.in_features == 6


def test_nothing_runs_unless_it_is_allowed(tmp_path: Path) -> None:
    ran = tmp_path / "my_model.ran"
    for name in ("my_model.py:build", "my_model:build"):
        assert runs_code(name)
        model_arguments(name, SIZE, 5)
        with pytest.raises(UsageError, match=r"'my_model.*--allow-code \(in Python allow_code"):
            create_model(name, {})
    assert not ran.exists()
    made("my_model.py:build")
    assert ran.exists()


def test_what_is_no_source_is_said_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean torchvision:resnet18\?"):
        create_model("torchvison:resnet18", {})
    assert not runs_code("torchvision:resnet18")
    assert not runs_code("small:residual")
    assert not runs_code("resnet18")


def test_the_same_seed_gives_the_same_network_first_or_not() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(made("my_model.py:build").state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_a_file_prints_is_no_part_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    made("my_model.py:build")
    found = capsys.readouterr()
    assert (found.out, found.err) == ("", "run\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_model.py:buld", r"my_model.py has no buld; did you mean build\?"),
        ("my_model.py:", "my_model.py has no name behind the colon; callables: "),
        ("my_model.py:needs", r"needs the arguments width, depth; .* model.arguments: {width: "),
        ("my_model.py:a_dict", r"returns dict, expected a network \(torch.nn.Module\)"),
        ("my_model.py:raises", r"raises ValueError: no such thing \(my_model.py, line 44\)"),
        ("my_model.py:network", "is a network, not what makes one; write: def build"),
        ("my_model.py:without_head", "gives 7 numbers for an example, expected 5.* num_classes"),
        ("none.py:build", "none.py does not exist"),
        ("broken.py:build", r"broken.py raises SyntaxError: .* \(broken.py, line 2\)"),
        ("lacks.py:build", r"raises ModuleNotFoundError: No module named 'not_there' \(lacks.py"),
        ("ends.py:build", r"ends.py raises SystemExit: 3 \(ends.py, line 1\)"),
        ("no_module:build", "there is no module no_module"),
        ("os:system", "os:system needs the argument command"),
    ],
)
def test_what_fails_is_told_in_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("\nx = (\n")
    (tmp_path / "lacks.py").write_text("import not_there\n")
    (tmp_path / "ends.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(ModelError, match=message) as caught:
        made(name)
    assert "\n" not in str(caught.value)


def test_an_argument_that_it_does_not_take_is_told() -> None:
    with pytest.raises(ModelError, match=r"takes no argument 'foo'; it takes num_classes, in_chan"):
        made("my_model.py:wide", foo=3)


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    other = write_model(tmp_path / "other")
    parts = other.with_name("parts.py")
    parts.write_text(parts.read_text().replace("nn.ReLU", "nn.SiLU"))
    assert isinstance(made("my_model.py:build").body[0][2], nn.ReLU)
    assert isinstance(made("other/my_model.py:build").body[0][2], nn.SiLU)


def test_a_changed_file_is_run_anew_and_goes_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "my_model.py"
    before = told_as("my_model.py:build", digest_of_code("my_model.py:build"))
    assert made("my_model.py:build").fc.in_features == 8
    path.write_text(path.read_text().replace("width=8", "width=9"))
    assert made("my_model.py:build").fc.in_features == 9
    after = told_as("folder/my_model.py:build", digest_of_code("my_model.py:build"))
    assert before != after
    assert after.startswith("my_model.py:build-")
    assert runs_code(after)


def test_a_network_goes_to_another_process_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    network = made("my_model.py:build")
    sent = pickle.dumps(with_code(network.forward))
    images = torch.randn(2, *SIZE)
    wanted = network(images)
    for name in [module.__name__ for module in brought_modules()]:
        monkeypatch.delitem(sys.modules, name)
    found = pickle.loads(sent)  # noqa: S301 - written here
    assert torch.equal(found(images), wanted)
    monkeypatch.undo()


def test_a_1x1_convolution_before_the_pooling_is_a_head() -> None:
    def build() -> nn.Module:
        layers = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 7, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        return nn.Sequential(*layers)

    network = made_by(build, model_arguments("x.py:f", SIZE, 3))
    assert network(torch.zeros(2, *SIZE)).shape == (2, 3)


def test_a_head_whose_weight_another_layer_has_is_left() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4))
    network[2].weight = network[1].weight
    why = with_outputs(network, (1, 2, 2), 3)
    assert why is not None
    assert "its last layer 2 shares its weight" in why
    assert network[2].out_features == 4


def test_a_network_that_does_not_run_is_left_to_what_runs_it() -> None:
    network = made("my_model.py:build", None)
    assert with_outputs(network, (3, 16, 16), 5) is None
    assert network.fc.out_features == 7


def test_a_callable_in_python_is_named_in_messages() -> None:
    with pytest.raises(DepthoptError, match="returns nothing, expected a network"):
        made_by(lambda: None, {})
