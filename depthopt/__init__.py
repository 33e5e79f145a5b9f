"""Make a trained convolutional network shallower and faster for one device.

``extract -> candidates -> profile -> estimate -> solve -> pick_measured -> apply ->
regress_classifier -> finetune -> fuse -> export_onnx``; ``save`` and ``load`` keep a compressed
network as a folder, ``export_openvino``, ``export_engine`` and ``quantise`` go on from its ONNX
file.

Names are imported when they are first used: torch and its kin take seconds.
"""

import importlib
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
    from depthopt.importance.workers import Workers
    from depthopt.kinds.candidates import candidates
    from depthopt.kinds.latency_keys import candidate_ms, latency_keys
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
    from depthopt.tasks.classifier import regress_classifier
    from depthopt.tasks.task import Task
    from depthopt.train.config import TrainConfig
    from depthopt.train.finetune import finetune
    from depthopt.workflow.compress import Compressed, compress
    from depthopt.workflow.evaluate import evaluate
    from depthopt.workflow.explore import explore

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
    "Plan",
    "RecipeError",
    "RuntimeUnavailable",
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
    "pick_measured",
    "profile",
    "quantise",
    "regress_classifier",
    "save",
    "save_json",
    "save_weights",
    "solve",
    "validate",
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
    "importance.workers": ("Workers",),
    "kinds.candidates": ("candidates",),
    "kinds.latency_keys": (
        "candidate_ms",
        "latency_keys",
    ),
    "latency.pick": ("pick_measured",),
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
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    """What pyproject.toml says, as it was installed."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - only when asked

    try:
        return version("depthopt")
    except PackageNotFoundError:  # a checkout on the path
        return "unknown"
