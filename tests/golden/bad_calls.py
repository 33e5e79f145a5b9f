"""Names, calls in Python and commands with faults."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import depthopt
from depthopt.core.artefacts import load_json
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.operators import Convolution
from depthopt.core.plan import Frontier, Plan
from depthopt.frontier.caps import LatencyCap, MemoryCap, ParameterCap
from depthopt.kinds.latency_keys import candidate_ms
from depthopt.latency.pick import asked_speedup
from depthopt.models.timm import create_timm_model
from depthopt.models.weights import load_weights
from depthopt.pipeline.context import CandidateList
from depthopt.solver.stages import Bucketed, Epsilon
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyKey, LatencyTable, MeasurementConditions
from depthopt.tables.store import stored
from tests.golden.attempts import Attempt, command, refused
from tests.golden.bad_files import changed_file
from tests.golden.write_version_1 import ARGUMENTS, MODEL, SIZE


def names() -> dict[str, Attempt]:
    """Names of convolutions, candidates and latency entries."""
    parsers: dict[str, tuple[Callable[[str], Any], tuple[str, ...]]] = {
        "convolution": (
            Convolution.parse,
            ("", "64", "64-128", "64-128 k3", "64-128 k3x3 p1,1", "64-128 k3x3 g", "a-b k3x3"),
        ),
        "candidate": (
            Candidate.parse,
            (
                "",
                "drop",
                "shrink 0:1 identity",
                "drop 0-1 identity",
                "drop 3:5",
                "fit 3:5 64-128 kx",
                "fit 3:5 64-128 k3x3 of 1,",
                "merge 3:5 64-128 k3x3 of a",
            ),
        ),
        "entry": (
            LatencyKey.parse,
            (
                "",
                "conv",
                "conv 8-8 k1x1",
                "conv 8-8 k1x1 @7",
                "conv 8-8 @7x7",
                "pool 8-8 k1x1 @7x7",
                "identity x @7x7",
                "identity 8-8 k1x1 @7x7",
                "avgpool 8 @7x7",
                "conv 8-8 k1x1 @7x7 add relu",
                "conv 8-8 k1x1 @7x7 relu +add",
            ),
        ),
    }
    return {
        f"{what} {name!r}": lambda parse=parse, name=name: refused(lambda: parse(name))
        for what, (parse, names) in parsers.items()
        for name in names
    }


def _chain() -> Chain:
    return load_json(Chain, Path("artefacts/chain.json"))


def _plan(**changes: Any) -> Plan:
    path = Path("artefacts/plan.json")
    for place, value in changes.items():
        path = changed_file(path, place.replace("__", "/"), value)
    return load_json(Plan, path)


def _frontier() -> Frontier:
    return load_json(Frontier, Path("artefacts/frontier.json"))


def _latency(path: str = "artefacts/latency.json") -> LatencyTable:
    return load_json(LatencyTable, Path(path))


def _importance() -> ImportanceTable:
    return load_json(ImportanceTable, Path("artefacts/fit.json"))


def _found() -> tuple[Candidate, ...]:
    return load_json(CandidateList, Path("artefacts/candidates.json")).candidates


def _model() -> Any:
    return create_timm_model(MODEL, ARGUMENTS)


def _apply(given: Plan) -> Any:
    return depthopt.apply(_model(), _chain(), given)


def _moved() -> Chain:
    return load_json(Chain, changed_file(Path("artefacts/chain.json"), "blocks/0/name", "nowhere"))


def _changed(place: str, value: Any) -> LatencyTable:
    return _latency(str(changed_file(Path("artefacts/latency.json"), place, value)))


def _empty() -> Chain:
    path = changed_file(Path("artefacts/chain.json"), "blocks", [])
    return load_json(Chain, changed_file(path, "skips", []))


def calls() -> dict[str, Attempt]:
    """Calls in Python."""
    here = MeasurementConditions("elsewhere", "openvino", "2.0", 4, "float16", 8)
    calls: dict[str, Callable[[], Any]] = {
        "candidates of an unknown kind": lambda: depthopt.candidates(_chain(), kinds=("shrink",)),
        "candidates of even kernels": lambda: depthopt.candidates(_chain(), kernel_sizes=(2,)),
        "candidates of no kernel": lambda: depthopt.candidates(_chain(), kernel_sizes=(-1,)),
        "candidates with an unknown activation": lambda: depthopt.candidates(
            _chain(), inserted="relu7"
        ),
        "estimate by an unknown estimator": lambda: depthopt.estimate(
            _model(), _chain(), _found(), estimator="guess"
        ),
        "estimate without images": lambda: depthopt.estimate(_model(), _chain(), _found()),
        "estimate by finetuning without a training": lambda: depthopt.estimate(
            _model(), _chain(), _found(), estimator="finetune"
        ),
        "estimate of another chain": lambda: depthopt.estimate(
            _model(), _moved(), _found(), estimator="magnitude"
        ),
        "estimate on from another table": lambda: depthopt.estimate(
            _model(), _chain(), _found(), table=_importance()
        ),
        "solve an empty chain": lambda: depthopt.solve(_empty(), (), _latency(), _importance()),
        "solve another model's table": lambda: depthopt.solve(
            _chain(), _found(), _latency(), ImportanceTable("resnet18", "regression")
        ),
        "solve without importances": lambda: depthopt.solve(
            _chain(), _found(), _latency(), ImportanceTable(MODEL, "regression")
        ),
        "solve without latencies": lambda: depthopt.solve(
            _chain(), _found(), _changed("entries", {}), _importance()
        ),
        "solve without a network": lambda: depthopt.solve(
            _chain(), _found(), _changed("networks", {}), _importance()
        ),
        "solve without candidates": lambda: depthopt.solve(_chain(), (), _latency(), _importance()),
        "solve without the first block": lambda: depthopt.solve(
            _chain(), [c for c in _found() if c.start], _latency(), _importance()
        ),
        "pick nothing": lambda: _frontier().pick(),
        "pick by two wishes": lambda: _frontier().pick(speedup=2, cost=1),
        "pick by no speed-up": lambda: _frontier().pick(speedup=0),
        "pick by a negative budget": lambda: _frontier().pick(budget_ms=-1),
        "pick too fast": lambda: _frontier().pick(budget_ms=1e-6),
        "pick too cheap": lambda: _frontier().pick(cost=-0.0) and _frontier().pick(cost=-1.0),
        "ask for nothing": lambda: asked_speedup(_frontier(), speedup=None, budget_ms=None),
        "a bucket of nought": lambda: Bucketed(0),
        "an epsilon that is not a number": lambda: Epsilon(math.nan),
        "a cap of nought": lambda: LatencyCap(_latency(), 0),
        "a cap on no parameters": lambda: ParameterCap(0),
        "a cap on no memory": lambda: MemoryCap(-1),
        "merge unlike tables": lambda: _latency().combined(LatencyTable(here)),
        "extend by an unlike table": lambda: _latency().extended(LatencyTable(here)),
        "the table of other conditions": lambda: stored(Path("artefacts/latency.json"), here),
        "time a candidate without entries": lambda: candidate_ms(
            _chain(), _found()[0], LatencyTable(here)
        ),
        "apply without images": lambda: _apply(_plan()),
        "apply a plan with a gap": lambda: _apply(_plan(choices__1__start=5)),
        "apply a plan that ends early": lambda: _apply(
            load_json(Plan, changed_file(Path("artefacts/plan.json"), "choices", []))
        ),
        "apply at another size": lambda: _apply(_plan(input_size=[1, 64, 64])),
        "apply another block": lambda: _apply(
            _plan(choices__0={"start": 0, "end": 1, "kind": "keep", "spec": None})
        ),
        "apply to another chain": lambda: depthopt.apply(_model(), _moved(), _plan()),
        "create an unknown model": lambda: create_timm_model("resnet181", {}),
        "extract a small input": lambda: depthopt.extract(_model(), (5, 32, 32), name=MODEL),
        "load nothing": lambda: depthopt.load("nowhere"),
        "load a run": lambda: depthopt.load("run/out"),
        "load weights of another": lambda: load_weights(_model(), Path("fused/model.safetensors")),
        "load weights that are JSON": lambda: load_weights(_model(), Path("fused/model.json")),
        "no threads": lambda: depthopt.get_runtime("onnxruntime", threads=0),
        "an unknown runtime": lambda: depthopt.get_runtime("onxruntime"),
        "a dtype that a runtime lacks": lambda: depthopt.get_runtime("torch", dtype="int8"),
        "a device that a runtime lacks": lambda: depthopt.get_runtime("openvino", device="cuda"),
        "an unknown data set": lambda: depthopt.load_dataset(
            "digit", input_size=SIZE, calibration_images=64, seed=0
        ),
    }
    return {f"call: {name}": lambda call=call: refused(call) for name, call in calls.items()}


def commands() -> dict[str, Attempt]:
    """Commands with bad arguments."""
    given = {
        "extract an unknown model": ("extract", "resnet181"),
        "extract at a bad size": ("extract", "resnet18", "--input-size", "64,64"),
        "extract at size nought": ("extract", "resnet18", "--input-size", "3,0,64"),
        "report of nothing": ("report", "nowhere"),
        "report of no run": ("report", "artefacts"),
        "compare one run": ("compare", "run/out"),
        "compare with no run": ("compare", "run/out", "artefacts"),
        "predict by no network": ("predict", "nowhere", "image.png"),
        "predict nothing": ("predict", "fused", "image.png", "--top", "0"),
        "profile an unknown model": ("profile", "resnet181"),
        "profile with a bad kernel": ("profile", "resnet18", "--kernel-sizes", "a"),
        "profile with an override": ("profile", "resnet18", "budget.ms=3"),
        "profile with a plot of nothing": ("profile", "resnet18", "--plot", "x.svg"),
        "profile no batch": ("profile", "resnet18", "--batch", "0"),
        "check nothing": ("check", "nowhere.onnx", "nowhere.onnx"),
        "check one": ("check", "run/out/fused.onnx"),
        "check no model": ("check", "recipe.yaml", "recipe.yaml"),
        "check against nothing": ("check", "--against", "none.json", "run/out/fused.onnx"),
        "check against a plan": (
            *("check", "--against", "artefacts/plan.json"),
            "run/out/fused.onnx",
        ),
        "check against no such network": (
            *("check", "--against", "artefacts/latency.json", "--network", "x"),
            "run/out/fused.onnx",
        ),
        "check no batch": ("check", "a.onnx", "b.onnx", "--batch", "0"),
        "export nothing": ("export", "nowhere.yaml"),
    }
    return {
        f"command: {name}": lambda words=words: command(*words) for name, words in given.items()
    }
