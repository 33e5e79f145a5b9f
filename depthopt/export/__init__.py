"""Networks written to files that other programs, and other processes, can load."""

from depthopt.export.engine import export_engine
from depthopt.export.onnx import export_onnx
from depthopt.export.openvino import export_openvino
from depthopt.export.quantise import quantise
from depthopt.export.saved import SavedModel, load, save

__all__ = [
    "SavedModel",
    "export_engine",
    "export_onnx",
    "export_openvino",
    "load",
    "quantise",
    "save",
]
