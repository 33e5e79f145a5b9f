"""No command reaches the network, or leaves an identity of the device, of its own accord."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.check.models import convolutions
from tests.pipeline.small_run import write_recipe

CACHES = {(".cache", "matplotlib"), (".cache", "torch"), (".config", "matplotlib")}
"""Under the home folder: where fonts and compiled code are found again."""

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and shutil.which("cc")),
    reason="a library that is preloaded is built by a C compiler, on Linux",
)


@pytest.fixture
def watched(tmp_path: Path) -> Callable[..., list[str]]:
    """Runs Python with these arguments, and gives what it looked up or connected to."""
    library, home, log = tmp_path / "network_log.so", tmp_path / "home", tmp_path / "network.log"
    source = Path(__file__).with_name("network_log.c")
    compiled = ["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run(compiled, check=True)
    home.mkdir()
    given = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}

    def run(*arguments: object) -> list[str]:
        log.write_text("")
        environment = {
            **given,
            "HOME": str(home),
            "LD_PRELOAD": str(library),
            "NETWORK_LOG": str(log),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "packages")]),
            "OMP_NUM_THREADS": "1",
        }
        ended = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode in {0, 3}, ended.stderr  # 3: a check that noise forbids to tell
        left = [path.relative_to(home) for path in home.rglob("*") if path.is_file()]
        told = [f"left {path}" for path in left if path.parts[:2] not in CACHES]
        return log.read_text().splitlines() + told

    return run


def test_what_is_watched_for_is_seen(watched: Callable[..., list[str]]) -> None:
    code = (
        "import socket, contextlib\n"
        "with contextlib.suppress(OSError): socket.getaddrinfo('name.invalid', 80)\n"
        "with contextlib.suppress(OSError): socket.create_connection(('192.0.2.1', 9), 0.01)\n"
        "with contextlib.suppress(OSError): socket.create_connection(('127.0.0.1', 9), 0.01)\n"
    )
    seen = watched("-c", code)
    assert "getaddrinfo name.invalid" in seen
    assert "connect 192.0.2.1" in seen
    assert not any("127" in line for line in seen)


def test_a_check_reaches_nothing(watched: Callable[..., list[str]], tmp_path: Path) -> None:
    small = convolutions(tmp_path / "small.onnx", 4)
    seen = watched(
        "-m", "depthopt", "check", small, small, "--seconds", "0.2", "--tolerance", "900%"
    )
    assert seen == []


RECIPE, RUN = "small.yaml", "runs/small"
COMMANDS = {
    "run": ("run", RECIPE),
    "dry run": ("run", RECIPE, "--dry-run"),
    "estimate on processes": ("estimate", RECIPE, "--workers", "2", "--run-dir", "workers"),
    "export": ("export", RECIPE, "--openvino", "--int8"),
    "predict": ("predict", f"{RUN}/fused", "images/black.png"),
    "report": ("report", RUN),
    "compare": ("compare", RUN, "workers"),
    "doctor of a recipe": ("doctor", RECIPE),
    "doctor": ("doctor", "resnet18", "--input-size", "3,32,32"),
    "extract": ("extract", "resnet18", "--input-size", "3,32,32"),
    **{
        f"profile on {runtime}": (
            "profile", "resnet18", "--input-size", "3,32,32", "--runtime", runtime,
            "--kinds", "drop",
            "--seconds-per-entry", "0.001", "--tables", f"{runtime}.json",
        )
        for runtime in ("onnxruntime", "openvino", "torch")
    },
    "frontier": ("frontier", f"{RUN}/latency.json", f"{RUN}/importance.json", "--speedup", "1.2"),
    "check": ("check", f"{RUN}/original.onnx", f"{RUN}/fused.onnx", "--tolerance", "900%"),
    "check by OpenVINO": (
        "check", f"{RUN}/original.onnx", f"{RUN}/fused.onnx", "--runtime", "openvino",
        "--tolerance", "900%",
    ),
}  # fmt: skip


@pytest.mark.nightly
def test_no_command_reaches_anything(watched: Callable[..., list[str]], tmp_path: Path) -> None:
    write_recipe(tmp_path)
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "images" / "black.png")
    seen = {name: watched("-m", "depthopt", *command) for name, command in COMMANDS.items()}
    assert seen == {name: [] for name in COMMANDS}
