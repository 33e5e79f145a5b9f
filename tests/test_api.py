import importlib

import depthopt


def test_the_public_names_are_there_and_sorted() -> None:
    fixed = {
        "extract", "candidates", "profile", "estimate", "solve", "apply", "finetune", "merge",
        "export_onnx", "save", "load", "Chain", "Candidate", "LatencyTable", "ImportanceTable",
        "Frontier", "Plan", "ConvSpec",
    }  # fmt: skip
    assert fixed <= set(depthopt.__all__)
    assert sorted(depthopt.__all__) == depthopt.__all__
    fresh = importlib.import_module("depthopt")
    assert all(hasattr(fresh, name) for name in depthopt.__all__)
