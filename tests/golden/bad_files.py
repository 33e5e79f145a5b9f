"""Artefacts and other files with faults."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from depthopt.core.artefacts import load_json
from depthopt.core.chain import Chain
from depthopt.core.plan import Frontier, Plan
from depthopt.core.training import TrainResult
from depthopt.core.trials import Trials
from depthopt.export.saved import SavedModel
from depthopt.pipeline.context import CandidateList
from depthopt.pipeline.folder import Manifest
from depthopt.pipeline.result import Result
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable
from depthopt.tables.validation import Validation
from tests.golden.attempts import Attempt, command, refused

_KINDS: dict[str, tuple[type[Any], str]] = {
    "chain": (Chain, "artefacts/chain.json"),
    "candidates": (CandidateList, "artefacts/candidates.json"),
    "latency": (LatencyTable, "artefacts/latency.json"),
    "importance": (ImportanceTable, "artefacts/fit.json"),
    "frontier": (Frontier, "artefacts/frontier.json"),
    "plan": (Plan, "artefacts/plan.json"),
    "trials": (Trials, "artefacts/trials.json"),
    "validation": (Validation, "artefacts/validation.json"),
    "saved": (SavedModel, "fused/model.json"),
    "manifest": (Manifest, "run/out/manifest.json"),
    "result": (Result, "run/out/result.json"),
    "training": (TrainResult, "run/out/finetuned/history.json"),
}

_GONE = object()


def artefacts() -> dict[str, Attempt]:
    """Artefacts that are broken as wholes, and with one value that is not what it should be."""
    entry, first = "conv 1-1 k3x3 s2x2 p1,1,1,1 @32x32 relu", "drop 0:1 1-1 k1x1 s2x2 relu"
    changes: dict[str, list[tuple[str, Any]]] = {
        "chain": [
            ("blocks", _GONE),
            ("blocks/0/name", 3),
            ("blocks/0/spec", None),
            ("blocks/0/spec/kernel_size", [3]),
            ("blocks/0/spec/in_channels", "many"),
            ("blocks/0/input_size", "8x8"),
            ("blocks/0/output", _GONE),
            ("skips/0/source", "a"),
            ("skips/0/projection/groups", 1.5),
            ("unused", 3),
            ("input_size", [1, 32]),
            ("conv_macs", "many"),
        ],
        "candidates": [
            ("candidates", _GONE),
            ("candidates/0/kind", "shrink"),
            ("candidates/0/end", None),
            ("candidates/0/spec/stride", [1, 1, 1]),
        ],
        "latency": [
            ("entries", []),
            (f"entries/{entry}/median_ms", "fast"),
            (f"entries/{entry}/count", 1.5),
            (f"entries/{entry}/q1_ms", _GONE),
            ("networks/repvgg_a0 @1x32x32/total", _GONE),
            ("networks/repvgg_a0 @1x32x32/fixed_ms", None),
            ("conditions", _GONE),
            ("conditions/threads", "many"),
            ("conditions/device", _GONE),
        ],
        "importance": [
            ("estimator", _GONE),
            ("model", 3),
            ("images", "many"),
            ("entries", None),
            (f"entries/{first}/cost", None),
            (f"entries/{first}/divergence", "much"),
        ],
        "frontier": [
            ("candidates", None),
            ("points/0/choices", ["a"]),
            ("points/0/cost", None),
            ("original_ms", "fast"),
        ],
        "plan": [
            ("choices", None),
            ("choices/0/kind", "shrink"),
            ("choices/0/start", None),
            ("choices/0/spec/groups", "x"),
            ("choices/0/spec/padding", [1, 1]),
            ("choices/0/kept", "x"),
            ("choices/0/activation", 3),
            ("latency_ms", "fast"),
            ("cost", _GONE),
            ("input_size", [1, 32, 32, 32]),
        ],
        "trials": [("trials/0/plan", None), ("trials/0/speedup", _GONE), ("trials", {})],
        "validation": [("timings/0/replaced", 3), ("seed", "x")],
        "saved": [
            ("name", _GONE),
            ("arguments/width_factor", [1]),
            ("plan", None),
            ("plan/choices/0/spec", "1-1 k3x3"),
            ("form", "folded"),
            ("merged", "perhaps"),
        ],
        "manifest": [("stages/teacher/outputs", None), ("started", [])],
        "result": [("speedup", "much"), ("original/latency/median_ms", None)],
        "training": [("steps", "many")],
    }
    found: dict[str, Attempt] = {}
    for name, (kind, file) in _KINDS.items():
        for fault, broken in (_FAULTS if name in {"latency", "plan"} else _MAIN_FAULTS).items():
            found[f"{name}: {fault}"] = lambda kind=kind, file=file, broken=broken: refused(
                lambda: load_json(kind, broken(Path(file)))
            )
        for place, value in changes[name]:
            said = "is gone" if value is _GONE else f"is {json.dumps(value)}"
            found[f"{name}: {place} {said}"] = lambda k=kind, f=file, p=place, v=value: refused(
                lambda: load_json(k, changed_file(Path(f), p, v))
            )
    return found


def _broken(path: Path, change: Callable[[bytes], bytes]) -> Path:
    Path("bad.json").write_bytes(change(path.read_bytes()))
    return Path("bad.json")


def _with(path: Path, **head: Any) -> Path:
    content = json.loads(path.read_text()) | head
    return _broken(path, lambda _: json.dumps(content).encode())


def changed_file(path: Path, place: str, value: Any) -> Path:
    """A copy with one value changed, or gone."""
    content = json.loads(path.read_text())
    *parents, last = _steps(place)
    inner = content
    for step in parents:
        inner = inner[step]
    if value is _GONE:
        del inner[last]
    else:
        inner[last] = value
    return _broken(path, lambda _: json.dumps(content).encode())


def _steps(place: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in place.split("/")]


_MAIN_FAULTS: dict[str, Callable[[Path], Path]] = {
    "cut short": lambda path: _broken(path, lambda content: content[:100]),
    "of another type": lambda path: _with(path, type="Recipe"),
    "of a newer schema": lambda path: _with(path, schema_version=99),
}

_FAULTS = {
    **_MAIN_FAULTS,
    "missing": lambda path: path.with_name("none.json"),
    "a folder": lambda path: path.parent,
    "empty": lambda path: _broken(path, lambda _: b""),
    "a list": lambda path: _broken(path, lambda _: b"[1, 2]"),
    "of no type": lambda path: _broken(path, lambda _: b"{}"),
    "of no schema": lambda path: _with(path, schema_version=None),
    "of a schema in words": lambda path: _with(path, schema_version="1"),
}


def solves() -> dict[str, Attempt]:
    """``depthopt frontier`` on files of which one is changed, or with bad options."""
    entry, first = "conv 1-1 k3x3 s2x2 p1,1,1,1 @32x32 relu", "drop 0:1 1-1 k1x1 s2x2 relu"
    network = "networks/repvgg_a0 @1x32x32"
    latency: list[tuple[str, Any]] = [
        (f"entries/{entry}", _GONE),
        (f"entries/{entry}/median_ms", math.nan),
        (f"entries/{entry}/median_ms", -1.0),
        (f"entries/{entry}/median_ms", math.inf),
        (network, _GONE),
        ("conditions/dtype", 3),
    ]
    importance: list[tuple[str, Any]] = [
        ("model", "resnet18"),
        (f"entries/{first}/cost", math.nan),
        (f"entries/{first}/cost", math.inf),
        ("entries/fit 90:95 3-3 k1x1", {"cost": 1.0}),
        ("entries/fit 5:2 3-3 k1x1", {"cost": 1.0}),
        ("entries/what", {"cost": 1.0}),
        ("entries/fit 0:1 1-8", {"cost": 1.0}),
        ("entries/merge 0:2 1-8 k7x7 of", {"cost": 1.0}),
    ]
    options = {
        "no wish": (),
        "two wishes": ("--speedup", "2", "--budget-ms", "1"),
        "a budget below the fastest": ("--budget-ms", "0.001"),
        "a speed-up above the fastest": ("--speedup", "1000"),
        "a negative speed-up": ("--speedup", "-2"),
        "a frontier and a plan without a wish": ("--csv", "f.csv", "--out", "p.json"),
        "a negative bucket": ("--speedup", "2", "--mode", "bucketed:-1"),
        "an unknown mode": ("--speedup", "2", "--mode", "bucket"),
        "a mode without its number": ("--speedup", "2", "--mode", "epsilon:x"),
        "a negative epsilon": ("--speedup", "2", "--mode", "epsilon:-1"),
        "an unknown objective": ("--speedup", "2", "--objective", "loss"),
        "an unknown block": ("--speedup", "2", "--keep", "no.block"),
        "a block kept and replaced": (
            *("--speedup", "2", "--keep", "stem.conv_kxk.conv"),
            *("--replace", "stem.conv_kxk.conv"),
        ),
        "a table without its budget": ("--speedup", "2", "--cap", "artefacts/latency.json"),
        "a second budget below the fixed part": (
            *("--speedup", "2", "--cap", "artefacts/latency.json=0.005"),
        ),
        "a second budget below the fastest": (
            *("--speedup", "2", "--cap", "artefacts/latency.json=0.0101"),
        ),
        "a negative second budget": (*("--speedup", "2", "--cap", "artefacts/latency.json=-1"),),
        "too few parameters": ("--speedup", "2", "--cap", "parameters=3"),
        "negative parameters": ("--speedup", "2", "--cap", "parameters=-3"),
        "too little memory": ("--speedup", "2", "--cap", "memory=3"),
        "no chain": ("--speedup", "2", "--chain", "none.json"),
        "a plan for a chain": ("--speedup", "2", "--chain", "artefacts/plan.json"),
    }

    def attempt(*words: str, **files: Path) -> str:
        given = {
            "latency": Path("artefacts/latency.json"),
            "importance": Path("artefacts/fit.json"),
            "chain": Path("artefacts/chain.json"),
            **files,
        }
        chain = () if "--chain" in words else (f"--chain={given['chain']}",)
        tables = (str(given["latency"]), str(given["importance"]))
        return command("frontier", *tables, *chain, *words)

    found: dict[str, Attempt] = {}
    for name, table, changes in (
        ("latency", "artefacts/latency.json", latency),
        ("importance", "artefacts/fit.json", importance),
    ):
        for place, value in changes:
            said = "is gone" if value is _GONE else f"is {json.dumps(value)}"
            found[f"solve: {name} {place} {said}"] = lambda n=name, t=table, p=place, v=value: (
                attempt("--speedup", "2", **{n: changed_file(Path(t), p, v)})
            )
    for name, words in options.items():
        found[f"solve: {name}"] = lambda words=words: attempt(*words)
    found["solve: without labels"] = lambda: attempt(
        *("--speedup", "2", "--objective", "exp_accuracy"),
        importance=Path("artefacts/unlabelled.json"),
    )
    return found


_LATENCIES = "id,st,end,ker,str,is_dw,time,stdev\n0,0,1,3,2,False,1.0,0.01\n"
_SCORES = "st,end,ker,str,is_dw,conv_comb,importance\n"


def imports() -> dict[str, Attempt]:
    """``depthopt tables import`` of published files."""
    latencies = {
        "no rows": "id,st,end,time,stdev\n",
        "no column": "id,st,time,stdev\n0,0,1.0,0.1\n",
        "a kernel but no stride": "id,st,end,ker,time,stdev\n0,0,1,3,1.0,0.1\n",
        "words for a number": "id,st,end,time,stdev\n0,0,1,fast,0.1\n",
        "a negative time": "id,st,end,time,stdev\n0,0,1,-1.0,0.1\n",
        "no number": "id,st,end,time,stdev\n0,0,1,nan,0.1\n",
        "half a block": "id,st,end,time,stdev\n0,0,1.5,1.0,0.1\n",
        "no flag": _LATENCIES.replace("False", "perhaps"),
        "another stride": _LATENCIES.replace("3,2,", "3,1,"),
        "a block beyond": _LATENCIES + "9,90,91,3,1,False,1.0,0.1\n",
        "a row twice": _LATENCIES + "1,0,1,3,2,False,1.0,0.01\n",
        "no text": "\xff\xfe",
    }
    scores = {
        "no time": _SCORES + '2,5,3,2,False,"[2, 3, 4]",2.5\n',
        "code for kept blocks": _SCORES + "2,5,3,2,False,__import__('os'),2.5\n",
        "kept blocks outside": _SCORES + '2,5,3,2,False,"[7]",2.5\n',
        "no score": _SCORES + '0,1,3,2,False,"[0]",x\n',
    }

    def attempt(latency: str, importance: str | None = None, *more: str) -> str:
        Path("lat.csv").write_text(latency, encoding="latin-1")
        words = ["tables", "import", "mobilenetv2_035", "--latency", "lat.csv"]
        if importance is not None:
            Path("imp.csv").write_text(importance)
            words += ["--importance", "imp.csv"]
        conditions = ("--device=x", "--runtime=tensorrt", "--runtime-version=8", "--dtype=float16")
        return command(*words, "--input-size=3,64,64", "--batch=1", *conditions, *more)

    found: dict[str, Attempt] = {
        f"import: {name}": lambda content=content: attempt(content)
        for name, content in latencies.items()
    }
    for name, content in scores.items():
        found[f"import: scores with {name}"] = lambda content=content: attempt(_LATENCIES, content)
    found["import: another size"] = lambda: attempt(_LATENCIES, None, "--input-size=64,64")
    return found
