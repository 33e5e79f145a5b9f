"""Make a trained CNN or vision transformer shallower and faster for one device.

In one call, and what it measured:

    compress, explore, evaluate, diagnose, part_of

Stage by stage, in this order:

    extract               find the chain: the network's blocks, skips and barriers
    candidates            list what may replace each segment of the chain
    latency_keys          what must be timed for one candidate
    get_runtime           the runtime that times it
    profile               measure a latency table
    validate              compare the table with networks that are built and timed
    estimate              what each candidate costs in accuracy
    solve                 the frontier: every good trade of latency against cost
    pick_measured         pick a plan by building a few and timing them
    apply                 carry the plan out: a shallow network that can be trained
    regress_classifier    fit its last layer again
    finetune              train it, with the original as its teacher
    fuse                  fold and merge what is left to fuse
    save, load            keep the network in a folder, and load it again
    export_onnx, export_openvino, export_engine, quantise    write it for a runtime

Helpers:

    load_dataset, given_dataset, load_weights, save_weights, load_json, save_json,
    candidate_ms, kept_blocks, l1_norms, similarities, with_footprints

Classes:

    network               Input, InputSpec, Chain, Candidate, Similarities, Task, Metric
    operators             Convolution, Activation, AveragePooling, Identity
    tables                LatencyTable, LatencyKey, NetworkKey, ImportanceTable, Importance
    solving               Exact, Bucketed, Epsilon, LatencyCap, MemoryCap, ParameterCap
    settings              TrainConfig, Workers
    results               Frontier, Plan, Compressed, Explored, Part
    errors                DepthoptError, and below it ArtefactError, CheckFailed, DataError,
                          InfeasibleBudget, ModelError, RecipeError, RuntimeUnavailable,
                          TableError, UsageError, WriteFailed

``help(depthopt.NAME)`` explains each. Names are imported when first used: torch takes seconds.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from depthopt.core.offline import keep_silent

if TYPE_CHECKING:
    from depthopt.core.artefacts import load_json, save_json
    from depthopt.core.candidate import Candidate, kept_blocks
    from depthopt.core.chain import Chain
    from depthopt.core.explored import Explored
    from depthopt.core.inputs import Input, InputSpec
    from depthopt.core.metric import Metric
    from depthopt.core.operators import Activation, AveragePooling, Convolution, Identity
    from depthopt.core.plan import Frontier, Plan
    from depthopt.data.given import given_dataset
    from depthopt.data.load import load_dataset
    from depthopt.errors import (
        ArtefactError,
        CheckFailed,
        DataError,
        DepthoptError,
        InfeasibleBudget,
        ModelError,
        RecipeError,
        RuntimeUnavailable,
        TableError,
        UsageError,
        WriteFailed,
    )
    from depthopt.export.engine import export_engine
    from depthopt.export.onnx import export_onnx
    from depthopt.export.openvino import export_openvino
    from depthopt.export.quantise import quantise
    from depthopt.export.saved import load, save
    from depthopt.extraction.extract import extract
    from depthopt.frontier.caps import LatencyCap, MemoryCap, ParameterCap
    from depthopt.frontier.solve import solve
    from depthopt.importance.estimate import estimate
    from depthopt.importance.similarity import similarities
    from depthopt.importance.workers import Workers
    from depthopt.kinds.candidates import candidates
    from depthopt.kinds.latency_keys import candidate_ms, latency_keys
    from depthopt.latency.footprint import with_footprints
    from depthopt.latency.pick import pick_measured
    from depthopt.latency.profile import profile
    from depthopt.latency.validate import validate
    from depthopt.models.weights import load_weights, save_weights
    from depthopt.report.diagnosis import diagnose
    from depthopt.rewrite.norms import l1_norms
    from depthopt.runtimes.registry import get_runtime
    from depthopt.shallow.apply import apply
    from depthopt.shallow.fuse import fuse
    from depthopt.solver.stages import Bucketed, Epsilon, Exact
    from depthopt.tables.importance import Importance, ImportanceTable
    from depthopt.tables.latency import LatencyKey, LatencyTable, NetworkKey
    from depthopt.tables.similarity import Similarities
    from depthopt.tasks.classifier import regress_classifier
    from depthopt.tasks.task import Task
    from depthopt.train.config import TrainConfig
    from depthopt.train.finetune import finetune
    from depthopt.workflow.compress import Compressed, compress
    from depthopt.workflow.evaluate import evaluate
    from depthopt.workflow.explore import explore
    from depthopt.workflow.part import Part, part_of

    __version__: str

keep_silent()

__all__ = [
    "Activation",
    "ArtefactError",
    "AveragePooling",
    "Bucketed",
    "Candidate",
    "Chain",
    "CheckFailed",
    "Compressed",
    "Convolution",
    "DataError",
    "DepthoptError",
    "Epsilon",
    "Exact",
    "Explored",
    "Frontier",
    "Identity",
    "Importance",
    "ImportanceTable",
    "InfeasibleBudget",
    "Input",
    "InputSpec",
    "LatencyCap",
    "LatencyKey",
    "LatencyTable",
    "MemoryCap",
    "Metric",
    "ModelError",
    "NetworkKey",
    "ParameterCap",
    "Part",
    "Plan",
    "RecipeError",
    "RuntimeUnavailable",
    "Similarities",
    "TableError",
    "Task",
    "TrainConfig",
    "UsageError",
    "Workers",
    "WriteFailed",
    "apply",
    "candidate_ms",
    "candidates",
    "compress",
    "diagnose",
    "estimate",
    "evaluate",
    "explore",
    "export_engine",
    "export_onnx",
    "export_openvino",
    "extract",
    "finetune",
    "fuse",
    "get_runtime",
    "given_dataset",
    "kept_blocks",
    "l1_norms",
    "latency_keys",
    "load",
    "load_dataset",
    "load_json",
    "load_weights",
    "part_of",
    "pick_measured",
    "profile",
    "quantise",
    "regress_classifier",
    "save",
    "save_json",
    "save_weights",
    "similarities",
    "solve",
    "validate",
    "with_footprints",
]

_HOMES = {
    "core.artefacts": (
        "load_json",
        "save_json",
    ),
    "core.candidate": (
        "Candidate",
        "kept_blocks",
    ),
    "core.chain": ("Chain",),
    "core.explored": ("Explored",),
    "core.inputs": (
        "Input",
        "InputSpec",
    ),
    "core.metric": ("Metric",),
    "core.operators": (
        "Activation",
        "AveragePooling",
        "Convolution",
        "Identity",
    ),
    "core.plan": (
        "Frontier",
        "Plan",
    ),
    "data.given": ("given_dataset",),
    "data.load": ("load_dataset",),
    "errors": (
        "ArtefactError",
        "CheckFailed",
        "DataError",
        "DepthoptError",
        "InfeasibleBudget",
        "ModelError",
        "RecipeError",
        "RuntimeUnavailable",
        "TableError",
        "UsageError",
        "WriteFailed",
    ),
    "export.engine": ("export_engine",),
    "export.onnx": ("export_onnx",),
    "export.openvino": ("export_openvino",),
    "export.quantise": ("quantise",),
    "export.saved": (
        "load",
        "save",
    ),
    "extraction.extract": ("extract",),
    "frontier.caps": (
        "LatencyCap",
        "MemoryCap",
        "ParameterCap",
    ),
    "frontier.solve": ("solve",),
    "importance.estimate": ("estimate",),
    "importance.similarity": ("similarities",),
    "importance.workers": ("Workers",),
    "kinds.candidates": ("candidates",),
    "kinds.latency_keys": (
        "candidate_ms",
        "latency_keys",
    ),
    "latency.pick": ("pick_measured",),
    "latency.footprint": ("with_footprints",),
    "latency.profile": ("profile",),
    "latency.validate": ("validate",),
    "models.weights": (
        "load_weights",
        "save_weights",
    ),
    "report.diagnosis": ("diagnose",),
    "rewrite.norms": ("l1_norms",),
    "runtimes.registry": ("get_runtime",),
    "shallow.apply": ("apply",),
    "shallow.fuse": ("fuse",),
    "solver.stages": (
        "Bucketed",
        "Epsilon",
        "Exact",
    ),
    "tables.importance": (
        "Importance",
        "ImportanceTable",
    ),
    "tables.latency": (
        "LatencyKey",
        "LatencyTable",
        "NetworkKey",
    ),
    "tables.similarity": ("Similarities",),
    "tasks.classifier": ("regress_classifier",),
    "tasks.task": ("Task",),
    "train.config": ("TrainConfig",),
    "train.finetune": ("finetune",),
    "workflow.compress": (
        "Compressed",
        "compress",
    ),
    "workflow.evaluate": ("evaluate",),
    "workflow.explore": ("explore",),
    "workflow.part": (
        "Part",
        "part_of",
    ),
}
"""Which module each public name comes from."""


def __getattr__(name: str) -> Any:
    """A public name, imported on first use (PEP 562); or the version, of the metadata."""
    if name == "__version__":
        return _version()
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"depthopt.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    if _pydoc_asks():  # it would print the whole of each class: the page above names them all
        return []
    return sorted({*globals(), *__all__, "__version__"})


def _pydoc_asks() -> bool:
    """Whether ``help(depthopt)`` lists the names, which it does through ``inspect.getmembers``."""
    frame = sys._getframe(2)  # noqa: SLF001 - the one way to tell who calls dir()
    while frame.f_globals.get("__name__") == "inspect" and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_globals.get("__name__") == "pydoc"


def _version() -> str:
    """What pyproject.toml says, as it was installed."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - only when asked

    try:
        return version("depthopt")
    except PackageNotFoundError:  # a checkout on the path
        return "unknown"
