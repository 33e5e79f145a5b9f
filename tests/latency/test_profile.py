"""What gets measured, and to which scale; the bench itself is made of numbers here."""

import logging
import sys
from types import MappingProxyType

import numpy as np
import pytest

from depthopt.core.candidate import Candidate
from depthopt.core.chain import Block, Chain, Layout
from depthopt.core.operators import Activation, Convolution
from depthopt.errors import ModelError, TableError
from depthopt.kinds.latency_keys import candidate_ms
from depthopt.latency.bench import Group
from depthopt.latency.profile import SWEEPS, profile, profile_workload
from depthopt.runtimes.registry import get_runtime
from depthopt.tables.latency import LatencyKey, LatencySummary, LatencyTable, MeasurementConditions
from tests.single_graph import single_graph

RELU = Activation("relu")
SPEC = Convolution(16, 16, (3, 3), padding=(1, 1, 1, 1))
STEM = Convolution(3, 16, (3, 3), padding=(1, 1, 1, 1))
POINT = Convolution(3, 16, (1, 1))


def block(i, convolution, size=(8, 8)):
    layout = Layout(convolution.in_channels, size, convolution.out_channels, size)
    return Block(f"b{i}", convolution, layout, RELU, f"x{i}", f"c{i}", f"c{i}", f"x{i + 1}")


CHAIN = Chain(
    "toy",
    (3, 8, 8),
    tuple(block(i, spec) for i, spec in enumerate((STEM, SPEC, SPEC))),
    (),
    (),
    (),
)
KEEP = tuple(Candidate(i, i + 1, "keep", (b.operator,), RELU) for i, b in enumerate(CHAIN.blocks))
FIT = (Candidate(0, 3, "fit", (POINT,), RELU), Candidate(0, 2, "fit", (POINT,), RELU))
STEM_KEY, SPEC_KEY, POINT_KEY = (LatencyKey(s, (8, 8), RELU) for s in (STEM, SPEC, POINT))
PROFILE_MODULE = sys.modules[profile.__module__]
CONDITIONS = MeasurementConditions("device", "runtime", "1", 1, "float32", 1)


class FakeRuntime:
    def conditions(self, batch):
        assert batch == 1
        return CONDITIONS


class FakeBench:
    """Times in milliseconds by key, on a machine slower by ``slowdown``."""

    network_ms, call_ms, slowdown = 9.0, 1.0, 1.0
    scatter = (0.9, 1.0, 1.1)
    times_ms = MappingProxyType({STEM_KEY: 2.0, SPEC_KEY: 3.0, POINT_KEY: 0.5})
    cannot = frozenset()

    def __init__(self, *_args, **_options):
        pass

    def measure(self, keys, *, sweeps):
        assert sweeps == SWEEPS
        self.log.append(tuple(keys))
        rounds = np.array(self.scatter)
        return Group(
            {k: rounds * self.times_ms[k] / self.network_ms for k in keys if k not in self.cannot},
            np.full(3, self.network_ms * self.slowdown),
            np.full(3, self.call_ms * self.slowdown),
            {k: "no kernel" for k in keys if k in self.cannot},
        )


@pytest.fixture
def bench(monkeypatch):
    kind = type("Bench", (FakeBench,), {"log": []})
    monkeypatch.setattr(PROFILE_MODULE, "Bench", kind)
    return kind


def in_turn(*groups):
    """The log of groups that are measured one after another."""
    return [group for group in groups for _ in range(SWEEPS)]


def measured(**options):
    return profile(CHAIN, KEEP + FIT, runtime=FakeRuntime(), network=b"", **options)


def medians(table):
    return {key: pytest.approx(entry.median_ms) for key, entry in table.entries.items()}


def test_measures_every_key_once_and_the_network(bench):
    table = measured()
    assert bench.log == in_turn((STEM_KEY, SPEC_KEY), (POINT_KEY,))
    assert medians(table) == {STEM_KEY: 2.0, SPEC_KEY: 3.0, POINT_KEY: 0.5}
    network = table.network(CHAIN)
    assert network.total.median_ms == pytest.approx(9.0)
    assert network.fixed_ms == pytest.approx(9.0 - (2.0 + 3.0 + 3.0))
    stem = table.entries[STEM_KEY]
    assert (stem.q1_ms, stem.q3_ms) == (pytest.approx(1.8), pytest.approx(2.2))
    assert stem.count == 3 * SWEEPS


def test_a_full_table_is_left_alone(bench):
    table = measured()
    bench.log.clear()
    assert measured(table=table) == table
    assert bench.log == []


def test_only_what_is_missing_is_measured_to_the_tables_scale(bench):
    whole = measured()
    part = LatencyTable(
        CONDITIONS,
        {key: entry for key, entry in whole.entries.items() if key != POINT_KEY},
        whole.networks,
    )
    bench.log.clear()
    bench.slowdown = 1.3
    again = measured(table=part)
    assert bench.log == in_turn((SPEC_KEY, STEM_KEY), (POINT_KEY,))
    assert medians(again) == medians(whole)
    assert again.networks == whole.networks


@pytest.mark.usefixtures("bench")
def test_a_second_network_is_brought_to_the_scale_of_shared_blocks():
    known = LatencyTable(CONDITIONS, {SPEC_KEY: LatencySummary(6.0, 6.0, 6.0, 9)})
    table = measured(table=known)
    assert table.network(CHAIN).blocks_share == pytest.approx((2.0 + 3.0 + 3.0 + 1.0) / 9.0)
    assert table.entries[SPEC_KEY] == known.entries[SPEC_KEY]
    assert table.entries[STEM_KEY].median_ms == pytest.approx(4.0)
    assert table.entries[POINT_KEY].median_ms == pytest.approx(1.0)
    assert table.network(CHAIN).total.median_ms == pytest.approx(18.0)


def test_blocks_that_exceed_the_whole_are_lowered_in_proportion(bench):
    bench.times_ms = {STEM_KEY: 4.0, SPEC_KEY: 4.0, POINT_KEY: 2.0}
    table = measured()
    network = table.network(CHAIN)
    assert network.total.median_ms == pytest.approx(9.0)
    assert network.fixed_ms == pytest.approx(1.0)
    assert table.entries[POINT_KEY].median_ms == pytest.approx(2.0 * 8 / 12)


def test_a_little_left_over_is_spread_over_the_blocks_and_more_is_fixed(bench):
    bench.network_ms = 9.4
    network = measured().network(CHAIN)
    assert network.total.median_ms == pytest.approx(9.4)
    assert network.fixed_ms == pytest.approx(1.0)
    bench.network_ms = 20.0
    table = measured()
    assert table.network(CHAIN).total.median_ms == pytest.approx(20.0)
    assert table.network(CHAIN).fixed_ms == pytest.approx(20.0 - 8.0 - 1.0)
    assert table.entries[STEM_KEY].median_ms == pytest.approx(2.0 * (8.0 + 1.0) / 8.0)


@pytest.mark.usefixtures("bench")
def test_the_blocks_own_sum_is_kept_as_measured():
    assert measured().network(CHAIN).blocks_share == pytest.approx((2.0 + 3.0 + 3.0 + 1.0) / 9.0)


def test_a_second_network_is_measured_where_it_differs(bench):
    stem = LatencySummary(2.0, 2.0, 2.0, 9)
    heads = {STEM_KEY: stem, POINT_KEY: LatencySummary(0.5, 0.5, 0.5, 9)}
    measured(table=LatencyTable(CONDITIONS, heads))
    assert bench.log == in_turn((STEM_KEY, SPEC_KEY))


def test_an_entry_says_whether_it_settled(bench):
    assert measured().entries[STEM_KEY].settled is False
    bench.scatter = (1.0,) * 9
    assert measured().entries[STEM_KEY].settled is True


def test_what_cannot_run_is_named_and_left_out(bench, caplog):
    bench.cannot = frozenset({POINT_KEY})
    table = measured()
    assert table.missing([STEM_KEY, SPEC_KEY, POINT_KEY]) == (POINT_KEY,)
    assert "left out" in caplog.text
    assert str(POINT_KEY) in caplog.text


def test_a_network_whose_own_block_cannot_run_is_refused(bench):
    bench.cannot = frozenset({STEM_KEY})
    with pytest.raises(ModelError, match=r"block conv 3-16 .* of toy cannot be measured"):
        measured()


@pytest.mark.usefixtures("bench")
def test_updates_hold_what_is_measured_so_far_and_progress_ends_at_the_total():
    updates, progress = [], []
    final = measured(on_update=updates.append, progress=lambda *done: progress.append(done))
    assert [len(table.entries) for table in updates] == [2, 3]
    assert updates[0].network(CHAIN) == final.network(CHAIN)
    assert updates[-1] == final
    assert progress == [(done, 3, "entries") for done in (0, 1, 2, 2, 2, 3)]


def test_going_on_from_an_update_measures_the_rest_only(bench):
    updates = []
    final = measured(on_update=updates.append)
    bench.log.clear()
    assert medians(measured(table=updates[0])) == medians(final)
    assert (POINT_KEY,) in bench.log


def test_a_table_of_other_conditions_is_refused(bench):
    other = MeasurementConditions("other device", "runtime", "1", 1, "float32", 1)
    with pytest.raises(TableError, match="'other device' against 'device'"):
        measured(table=LatencyTable(other))
    assert bench.log == []


@pytest.mark.parametrize(
    "change", [{"call_ms": 9.5}, {"times_ms": dict.fromkeys(FakeBench.times_ms, 0.0)}]
)
def test_a_network_that_cannot_be_told_from_its_call_is_refused(bench, change):
    for name, value in change.items():
        setattr(bench, name, value)
    updates = []
    with pytest.raises(TableError, match=r"toy took 9 ms on runtime, .* cannot be told"):
        measured(on_update=updates.append)
    assert updates == []


def test_a_noisy_machine_is_reported_with_the_spread(bench, caplog):
    bench.scatter = (0.2, 1.0, 1.8)
    with caplog.at_level(logging.WARNING):
        measured()
    assert "the machine is noisy" in caplog.text
    assert "160 %" in caplog.text


@pytest.mark.timed
def test_on_a_real_runtime_more_work_takes_longer():
    heavy = Convolution(256, 256, (3, 3), padding=(1, 1, 1, 1))
    network = single_graph(LatencyKey(heavy, (16, 16), RELU))
    chain = Chain("toy", (256, 16, 16), (block(0, heavy, (16, 16)),), (), (), ())
    light = Candidate(0, 1, "fit", (Convolution(256, 256, (1, 1), groups=256),), RELU)
    table = profile(
        chain, [light], runtime=get_runtime("onnxruntime"), network=network, entry_seconds=0.1
    )
    kept = Candidate(0, 1, "keep", (heavy,), RELU)
    assert candidate_ms(chain, light, table) < 0.2 * candidate_ms(chain, kept, table)
    assert table.conditions.runtime == "onnxruntime"


def test_entries_take_what_they_were_seen_to_take():
    """As docs/results/latency.md says of mobilenetv2_100, and of mobilenetv2_140."""
    assert profile_workload(197).clock_s == pytest.approx(69, rel=0.02)
    assert profile_workload(188).clock_s == pytest.approx(74, rel=0.15)
    assert profile_workload(10, entry_seconds=0.5).clock_s - profile_workload(10).clock_s == 2.5
