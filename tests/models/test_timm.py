import pytest

from depthopt.errors import ModelError
from depthopt.models.timm import create_timm_model


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mobilenetv2_1000", {}, "timm knows no model 'mobilenetv2_1000'; did you mean"),
        ("resnet10t", {"no_such": 1}, r"timm refuses resnet10t with {'no_such': 1}: .*no_such"),
        ("resnet10t", {"checkpoint_path": "a.pth"}, "checkpoint_path of resnet10t is not read"),
    ],
)
def test_what_timm_does_not_make_is_refused(name, arguments, message):
    with pytest.raises(ModelError, match=message):
        create_timm_model(name, arguments)


def test_a_model_comes_ready_to_be_evaluated():
    assert not create_timm_model("test_resnet", {"in_chans": 1}).training
