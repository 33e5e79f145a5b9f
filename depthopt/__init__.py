"""Make a trained convolutional network shallower and faster for one device.

``extract -> candidates -> profile -> estimate -> solve -> pick_measured -> apply ->
regress_classifier -> finetune -> merge -> export_onnx``; ``save`` and ``load`` keep a compressed
network as a folder, ``export_openvino``, ``export_engine`` and ``quantise`` go on from its ONNX
file.

Names are imported when they are first used: torch and its kin take seconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from depthopt.core.candidate import Candidate
    from depthopt.core.chain import Chain
    from depthopt.core.operators import Convolution
    from depthopt.core.plan import Frontier, Plan
    from depthopt.data.load import load_dataset
    from depthopt.export.engine import export_engine
    from depthopt.export.onnx import export_onnx
    from depthopt.export.openvino import export_openvino
    from depthopt.export.quantise import quantise
    from depthopt.export.saved import load, save
    from depthopt.extraction.extract import extract
    from depthopt.frontier.solve import solve
    from depthopt.importance.estimate import estimate
    from depthopt.kinds.candidates import candidates
    from depthopt.latency.pick import pick_measured
    from depthopt.latency.profile import profile
    from depthopt.latency.validate import validate
    from depthopt.rewrite.classifier import regress_classifier
    from depthopt.runtimes.registry import get_runtime
    from depthopt.shallow.apply import apply
    from depthopt.shallow.merge import merge
    from depthopt.tables.importance import ImportanceTable
    from depthopt.tables.latency import LatencyTable
    from depthopt.train.finetune import finetune

__all__ = [
    "Candidate",
    "Chain",
    "Convolution",
    "Frontier",
    "ImportanceTable",
    "LatencyTable",
    "Plan",
    "apply",
    "candidates",
    "estimate",
    "export_engine",
    "export_onnx",
    "export_openvino",
    "extract",
    "finetune",
    "get_runtime",
    "load",
    "load_dataset",
    "merge",
    "pick_measured",
    "profile",
    "quantise",
    "regress_classifier",
    "save",
    "solve",
    "validate",
]

_HOMES = {
    "core.candidate": ("Candidate",),
    "core.chain": ("Chain",),
    "core.plan": ("Frontier", "Plan"),
    "core.spec": ("Convolution",),
    "core.tables": ("ImportanceTable", "LatencyTable"),
    "export": ("export_engine", "export_onnx", "export_openvino", "load", "quantise", "save"),
    "extraction": ("candidates", "extract"),
    "importance": ("estimate",),
    "latency": ("pick_measured", "profile", "validate"),
    "rewrite": ("apply", "merge", "regress_classifier"),
    "runtimes": ("get_runtime",),
    "solver": ("solve",),
    "train": ("finetune", "load_dataset"),
}
"""Which module each public name comes from."""


def __getattr__(name: str) -> Any:
    """A public name, imported on first use (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"depthopt.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
