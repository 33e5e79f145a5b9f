import pytest
import torch

from depthopt.errors import ModelError
from depthopt.models.registry import create_model


@pytest.mark.parametrize("outputs", [-4, 2**40])
def test_what_a_source_does_not_expect_is_told(outputs: int) -> None:
    with pytest.raises(ModelError, match=r"small:residual cannot be made with .*outputs"):
        create_model("small:residual", {"outputs": outputs})


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_no_backbones_weights_are_downloaded_unasked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a download was begun")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    network = create_model(f"torchvision:{name}", {"channels": 3, "num_classes": 4})
    output = network(torch.zeros(1, 3, 32, 32))
    assert output["out"].shape == (1, 4, 32, 32)
