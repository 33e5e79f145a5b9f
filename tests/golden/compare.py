"""Golden files against what is worked out now: byte for byte, or within a tolerance.

Bits of sums depend on the libraries' versions and on the processor, which chooses their kernels.
Where all of that is as it was when a file was written, everything must be the same, byte for byte.
Elsewhere keys, orders, shapes and whole numbers must be the same, and other numbers nearly so.
"""

import hashlib
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from depthopt.core.old_words import ESTIMATORS, FORMS, STAGES, read_artefact

Mode = Literal["bytes", "tolerance"]

RELATIVE, ABSOLUTE = 1e-2, 1e-5
"""How far a number may be from the golden one, in the mode ``tolerance``: by either.

Regressions on few images make much of a rounding: with a processor's AVX-512 or even all of AVX
turned off, numbers were 1e-3 and 2e-3 off, logits 2e-3 and 2e-2 of their largest.
"""

OF_LARGEST = 5e-2
"""How far each of a row of logits may be, as a share of the row's largest."""

ONE_IMAGE = 100 / 16
"""How far a change of accuracy may be, in points of 100: two logits of one image may be as good
as equal."""

_PACKAGES = ("torch", "timm", "numpy", "numba")


def conditions() -> dict[str, Any]:
    """All that bits may depend on, on one thread."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        "blas": f"{blas['name']} {blas['version']}",
        "torch_kernels": torch.backends.cpu.get_cpu_capability(),
        "processor": _processor(),
        "probe": _probe(),
    }


def _processor() -> dict[str, str]:
    """The processor's name, and a digest of the instructions that it has."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {"model name": platform.processor()}
    first = path.read_text().partition("\n\n")[0]
    said = dict(map(str.strip, line.split(":", 1)) for line in first.splitlines() if ":" in line)
    wanted = ("model name", "cpu family", "model", "stepping", "cache size", "flags")
    found = {name: said[name] for name in wanted if name in said}
    if "flags" in found:
        found["flags"] = hashlib.sha256(found["flags"].encode()).hexdigest()
    return found


def _probe() -> str:
    """A digest of what a few sums, products and convolutions come to here."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 32, 16, 16, generator=generator)
    square = torch.randn(256, 256, generator=generator).double()
    results = [
        torch.conv2d(images, torch.randn(48, 32, 3, 3, generator=generator), padding=1),
        torch.conv2d(images, torch.randn(32, 1, 3, 3, generator=generator), groups=32),
        torch.conv2d(images, torch.randn(48, 32, 1, 1, generator=generator), stride=2),
        images.sum((2, 3)),
        images.flatten(1).log_softmax(1),
        square @ square.T,
        torch.linalg.cholesky(square @ square.T + 256 * torch.eye(256, dtype=torch.float64)),
        square.float() @ square.float().T,
    ]
    return hashlib.sha256(b"".join(result.numpy().tobytes() for result in results)).hexdigest()


def mode_of(folder: Path) -> Mode:
    """How files of one folder are to be compared here."""
    then = json.loads((folder / "conditions.json").read_text())
    return "bytes" if then == conditions() else "tolerance"


def in_new_words(networks: dict[str, Any]) -> dict[str, Any]:
    """Golden networks by the names that the forms of networks have now."""
    named = {}
    for name, network in networks.items():
        plan, form = name.split()
        found = {FORMS.get(part, part): content for part, content in network.items()}
        named[f"{plan} {FORMS.get(form, form)}"] = found
    return named


def table_in_new_words(content: dict[str, Any]) -> dict[str, Any]:
    """A golden importance table with the name that its estimator has now."""
    return read_artefact("ImportanceTable", content)


def summary_in_new_words(summary: str) -> str:
    """A golden report with the names that estimators and stages have now, and its command."""
    for old, new in ESTIMATORS.items():
        summary = summary.replace(f"scored by {old} on", f"scored by {new} on")
    for line in ("fused against trained", "ONNX against fused"):
        summary = summary.replace(f"{line} logits ", f"{line} outputs")
    for old, new in STAGES.items():
        summary = summary.replace(f"│ {old.ljust(8)} │", f"│ {new.ljust(8)} │")
    # Another plan is a new run, in a folder of its own; how it is picked is a key of its own.
    return summary.replace(
        "--run-dir out 'budget={ms: MS, measured: false}'",
        "--from out --run-dir out-MSms 'budget={ms: MS}' pick=predicted",
    )


def text(value: Any, depth: int = 2) -> str:
    """Plain data as JSON: the elements of so many outer levels on lines of their own."""
    return _text(value, depth, "") + "\n"


def _text(value: Any, depth: int, indent: str) -> str:
    nested = isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(element, dict | list) for element in value)
    )
    if not (nested and value and depth):
        return json.dumps(value)
    inner = indent + " "
    if isinstance(value, dict):
        left, right = "{}"
        parts = [f"{json.dumps(k)}: {_text(v, depth - 1, inner)}" for k, v in value.items()]
    else:
        left, right = "[]"
        parts = [_text(element, depth - 1, inner) for element in value]
    return f"{left}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{right}"


def difference(golden: Any, now: Any, mode: Mode) -> str | None:
    """Where plain data differs from the golden, and how; None if it does not.

    Args:
        golden: what the file holds.
        now: what was worked out.
        mode: in ``tolerance``, digests of tensors are not compared, and numbers that are not
            whole may differ by what the constants above say.
    """
    found = _difference(golden, now, mode, "")
    if found is None and mode == "bytes" and text(golden) != text(now):
        return f"compared by {mode}: the texts differ"
    return None if found is None else f"compared by {mode}: {found}"


def _difference(golden: Any, now: Any, mode: Mode, where: str, largest: float = 0.0) -> str | None:
    if type(golden) is not type(now):
        return f"{where}: {golden!r} was a {type(golden).__name__}, is {now!r}"
    if isinstance(golden, dict):
        if list(golden) != list(now):
            return f"{where}: keys or their order differ: {_first(list(golden), list(now))}"
        pairs = [(f"{where}/{key}", golden[key], now[key]) for key in golden]
    elif isinstance(golden, list):
        if len(golden) != len(now):
            return f"{where}: was of length {len(golden)}, is {len(now)}"
        pairs = [(f"{where}/{i}", *both) for i, both in enumerate(zip(golden, now, strict=True))]
    else:
        same = golden == now or (mode == "tolerance" and _is_near(golden, now, where, largest))
        return None if same else f"{where}: was {golden!r}, is {now!r}"
    row = isinstance(golden, list) and all(isinstance(value, float) for value in golden)
    largest = max(map(abs, golden), default=0.0) if row else 0.0
    found = (_difference(*both, mode, place, largest) for place, *both in pairs)
    return next((one for one in found if one is not None), None)


def _is_near(golden: Any, now: Any, where: str, largest: float) -> bool:
    if isinstance(golden, str):
        return _is_digest(golden) and _is_digest(now)
    if not isinstance(golden, float):
        return False
    most = ONE_IMAGE if where.endswith("/metric_change") else ABSOLUTE
    return math.isclose(golden, now, rel_tol=RELATIVE, abs_tol=max(most, OF_LARGEST * largest))


def _is_digest(value: str) -> bool:
    return len(value) == 24 and not set(value) - set("0123456789abcdef")


def _first(golden: list[Any], now: list[Any]) -> str:
    place = next(
        (i for i, (a, b) in enumerate(zip(golden, now, strict=False)) if a != b),
        min(len(golden), len(now)),
    )
    return f"at {place} was {golden[place : place + 1]}, is {now[place : place + 1]}"
