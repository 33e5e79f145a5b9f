import pytest

from depthopt.errors import ModelError
from depthopt.models.registry import create_model


@pytest.mark.parametrize("outputs", [-4, 2**40])
def test_what_a_source_does_not_expect_is_told(outputs: int) -> None:
    with pytest.raises(ModelError, match=r"small:residual cannot be made with .*outputs"):
        create_model("small:residual", {"outputs": outputs})
