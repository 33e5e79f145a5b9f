"""Layers of two networks side by side."""

from dataclasses import replace

import pytest

from depthopt.check.layers import LayerDifference, _summed, aligned, moved_layers
from depthopt.runtimes.base import LayerTime
from depthopt.runtimes.registry import get_runtime
from tests.check.models import convolutions


def layers(*times):
    return [LayerTime(f"{operator}_{i}", operator, ms) for i, (operator, ms) in enumerate(times)]


def test_renumbered_layers_stay_pairs():
    before = layers(("Conv", 1.0), ("Relu", 0.1), ("Conv", 2.0), ("Gemm", 0.5))
    after = layers(("Conv", 1.0), ("Relu", 0.1), ("Conv", 0.7), ("Conv", 2.1), ("Gemm", 0.5))
    found = aligned(before, after)
    assert [(d.baseline_ms, d.current_ms) for d in found] == [
        (1.0, 1.0),
        (0.1, 0.1),
        (None, 0.7),
        (2.0, 2.1),
        (0.5, 0.5),
    ]
    assert found[2].name == "Conv_2"


def test_what_is_gone_and_what_is_new_are_told_apart():
    found = aligned(layers(("Conv", 1.0), ("Relu", 0.1)), layers(("Conv", 1.0), ("Clip", 0.2)))
    changes = {d.operator: (d.baseline_ms, d.current_ms) for d in found}
    assert changes == {"Conv": (1.0, 1.0), "Relu": (0.1, None), "Clip": (None, 0.2)}


def test_alignment_explains_the_whole_difference():
    before = layers(*[("Conv", 0.1 * i) for i in range(1, 8)])
    after = layers(*[("Conv", 0.1 * i) for i in (1, 3, 4, 4, 7, 9)])
    total = sum(d.change_ms for d in aligned(before, after))
    expected = sum(x.median_ms for x in after) - sum(x.median_ms for x in before)
    assert abs(total - expected) < 1e-9
    assert aligned([], []) == []


def test_small_new_layers_count_together():
    small = [LayerDifference(f"conv_{i}", "Conv", None, 0.01) for i in range(5)]
    pair = LayerDifference("conv", "Conv", 0.02, 0.03)
    new, gone = _summed([*small, pair])
    assert (new.name, new.operator, new.baseline_ms) == ("5 small layers", "Conv", None)
    assert abs(new.change_ms - 0.05) < 1e-9
    assert (new.change, gone.change, pair.change) == ("added", "removed", "+0.010 ms")
    assert gone.change_ms == 0
    (only, _) = _summed(small[:1])
    assert only.name == "1 small layer"


def test_of_equal_layers_the_one_whose_name_is_gone_was_removed():
    before = [LayerTime(f"stage.{i}", "Conv", 1.0 + 0.01 * i) for i in range(5)]
    after = [replace(layer, median_ms=1.02) for layer in before if layer.name != "stage.2"]
    (removed,) = [d for d in aligned(before, after) if d.change == "removed"]
    assert removed.name == "stage.2"
    numbered = [replace(layer, name=f"stage.{i}") for i, layer in enumerate(after)]
    assert sum(d.change == "removed" for d in aligned(before, numbered)) == 1


@pytest.mark.timed
def test_added_convolutions_are_what_moved(tmp_path):
    small, large = (convolutions(tmp_path / f"{n}.onnx", n) for n in (3, 9))
    found = moved_layers(small, large, runtime=get_runtime("onnxruntime"), batch=1)
    added = [d for d in found if d.baseline_ms is None and "conv" in d.operator.lower()]
    assert len(added) >= 5
