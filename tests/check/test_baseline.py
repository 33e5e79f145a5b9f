"""Baselines: recorded ones, and networks of latency tables."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from depthopt.check.baseline import Baseline, read_baseline
from depthopt.check.check import Network
from depthopt.check.recorded import record
from depthopt.check.yardsticks import YARDSTICKS
from depthopt.core.artefacts import load_json, save_json
from depthopt.errors import ArtefactError, TableError
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import (
    Footprint,
    LatencyKey,
    LatencySummary,
    LatencyTable,
    NetworkKey,
)
from tests.check.models import convolutions

COMMITTED = next(Path("latency_tables").glob("*/onnxruntime-*-b1.json"))


@pytest.mark.timed
@pytest.mark.usefixtures("hasty_bench")
def test_a_baseline_holds_yardsticks_conditions_and_hashes(tmp_path):
    model = convolutions(tmp_path / "model.onnx", 6)
    found = record(model, runtime=get_runtime("onnxruntime"), seconds=0.5)
    save_json(found, tmp_path / "b.json")
    assert read_baseline(tmp_path / "b.json") == found
    assert set(found.yardsticks) <= set(YARDSTICKS)
    assert all(len(shares) == 6 and min(shares) > 0 for shares in found.yardsticks.values())
    assert found.latency.count >= 9
    assert found.input_shapes == {"x": (1, 16, 24, 24)}
    assert len(found.network.sha256) == 64


def test_a_committed_tables_network_is_a_baseline():
    found = read_baseline(COMMITTED, "resnet18 @3x224x224")
    table = load_json(LatencyTable, COMMITTED)
    network = table.networks[NetworkKey("resnet18", (3, 224, 224))]
    assert found.conditions == table.conditions
    assert found.latency == network.total
    assert found.input_shapes == {"image": (None, 3, 224, 224)}
    level_ms = (network.total.median_ms - network.fixed_ms) / network.blocks_share
    for key, (share,) in found.yardsticks.items():
        assert LatencyKey.parse(str(key)) == key
        assert np.isclose(share * level_ms, table.entries[key].median_ms)


def test_a_tables_network_with_footprints_is_one_on_the_same_scale(tmp_path):
    table = load_json(LatencyTable, COMMITTED)
    name = NetworkKey("resnet18", (3, 224, 224))
    network = table.networks[name]
    steps = (Footprint(10, 0.5), Footprint(20, 1.25))
    fixed_ms = network.total.median_ms / 1.25 - (network.total.median_ms - network.fixed_ms)
    told = replace(network, fixed_ms=fixed_ms, footprints=steps, parameters=15)
    save_json(replace(table, networks={name: told}), tmp_path / "apart.json")
    found, plain = read_baseline(tmp_path / "apart.json"), read_baseline(COMMITTED, str(name))
    assert list(found.yardsticks) == list(plain.yardsticks)
    shares = [np.concatenate(list(each.yardsticks.values())) for each in (found, plain)]
    assert np.allclose(*shares)


def test_a_history_tells_a_tables_networks_apart():
    names = sorted(map(str, load_json(LatencyTable, COMMITTED).networks))
    hashes = {read_baseline(COMMITTED, name).network.sha256 for name in names}
    assert len(hashes) == len(names) > 1


def test_a_table_is_asked_for_a_network_that_it_holds(tmp_path):
    with pytest.raises(TableError, match=r"several networks; choose one with --network: eff"):
        read_baseline(COMMITTED)
    with pytest.raises(TableError, match="holds no alexnet"):
        read_baseline(COMMITTED, "alexnet")
    table = load_json(LatencyTable, COMMITTED)
    name, network = next(iter(table.networks.items()))
    only = tmp_path / "only.json"
    save_json(replace(table, networks={name: network}), only)
    assert read_baseline(only).latency == network.total
    save_json(replace(table, networks={name: replace(network, blocks_share=None)}), only)
    with pytest.raises(TableError, match="profile it"):
        read_baseline(only)
    save_json(replace(table, networks={name: network}, entries={}), only)
    with pytest.raises(TableError, match="no settled entry"):
        read_baseline(only)


@pytest.mark.parametrize(
    "yardsticks",
    [{}, {"conv 8-8 k1x1 @7x7": []}, {"conv 8-8 k1x1 @7x7": [0]},
     {"conv 8-8 k1x1 @7x7": [float("nan")]},
     {"conv 8-8 k1x1 @7x7": [1], "conv 8-8 k3x3 @7x7": [1, 2]}],
)  # fmt: skip
def test_yardsticks_that_measure_nothing_are_refused(yardsticks, tmp_path):
    conditions = get_runtime("onnxruntime").conditions(1)
    summary = LatencySummary(1.0, 1.0, 1.0, 9)
    key = LatencyKey.parse("conv 8-8 k1x1 @7x7")
    network = Network("old", "0")
    save_json(Baseline(network, conditions, summary, {key: (1.0,)}, {}), tmp_path / "b.json")
    content = json.loads((tmp_path / "b.json").read_text())
    (tmp_path / "b.json").write_text(json.dumps(content | {"yardsticks": yardsticks}))
    with pytest.raises(ArtefactError, match=r"b.json: yardsticks"):
        read_baseline(tmp_path / "b.json")
    (tmp_path / "b.json").write_text("[" * 100_000)
    with pytest.raises(ArtefactError, match="nested more than 64 deep"):
        read_baseline(tmp_path / "b.json")
