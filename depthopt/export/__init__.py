"""Networks written to files that other programs, and other processes, can load."""

from depthopt.export.onnx import export_onnx
from depthopt.export.saved import SavedModel, load, save

__all__ = ["SavedModel", "export_onnx", "load", "save"]
