"""Make a trained convolutional network shallower and faster for one device.

``extract -> candidates -> profile -> estimate -> solve -> apply -> finetune -> merge ->
export_onnx``; ``save`` and ``load`` keep a compressed network as a folder.
"""

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.plan import Frontier, Plan
from depthopt.core.spec import ConvSpec
from depthopt.core.tables import ImportanceTable, LatencyTable
from depthopt.export import export_onnx, load, save
from depthopt.extract import candidates, extract
from depthopt.importance import estimate
from depthopt.latency import profile
from depthopt.rewrite import apply, merge
from depthopt.runtimes import get_runtime
from depthopt.solver import solve
from depthopt.train import finetune, load_dataset

__all__ = [
    "Candidate",
    "Chain",
    "ConvSpec",
    "Frontier",
    "ImportanceTable",
    "LatencyTable",
    "Plan",
    "apply",
    "candidates",
    "estimate",
    "export_onnx",
    "extract",
    "finetune",
    "get_runtime",
    "load",
    "load_dataset",
    "merge",
    "profile",
    "save",
    "solve",
]
