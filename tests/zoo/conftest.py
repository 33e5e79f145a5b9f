"""``pytest tests/zoo --models NAME,GLOB,...`` checks any timm models."""

import pytest
import timm

SMALL = ("mobilenetv2_035", "tf_mobilenetv3_small_minimal_100", "repvgg_a0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--models",
        default=",".join(SMALL),
        help="timm models to check, names or globs, separated by commas",
    )
    parser.addoption(
        "--plans", type=int, default=4, help="random plans per model, over its input sizes"
    )


def models(config: pytest.Config) -> list[str]:
    """The models that the command line names, in its order."""
    names: list[str] = []
    for pattern in config.getoption("--models", ",".join(SMALL)).split(","):
        found = [pattern] if timm.is_model(pattern) else timm.list_models(pattern)
        if not found:
            raise pytest.UsageError(f"timm knows no model {pattern!r}")
        names += [name for name in found if name not in names]
    return names


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "model_name" in metafunc.fixturenames:
        metafunc.parametrize("model_name", models(metafunc.config), scope="module")


@pytest.fixture(scope="session")
def plans(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--plans", 4)
