"""Latency tables as files that several processes share."""

import dataclasses
import json
import multiprocessing

import pytest

from depthopt.core.operators import Activation, Identity
from depthopt.errors import ArtefactError, TableError
from depthopt.tables.latency import (
    LatencyKey,
    LatencySummary,
    LatencyTable,
    MeasurementConditions,
    NetworkKey,
    NetworkLatency,
)
from depthopt.tables.store import store, stored, table_path

CONDITIONS = MeasurementConditions(
    "AMD EPYC 7763 64-Core Processor", "onnxruntime", "1.32.0", 1, "float32", 1, "2026-01-02"
)
NET = NetworkKey("net", (3, 8, 8))


def key(name):
    """An entry that goes by a name of one's choice."""
    return LatencyKey(Identity(1), (1, 1), Activation(name))


def table(**entries_ms):
    return LatencyTable(
        CONDITIONS,
        {key(name): LatencySummary(ms, ms, ms, 9, True) for name, ms in entries_ms.items()},
    )


def medians(found):
    return {key.activation.name: entry.median_ms for key, entry in found.entries.items()}


def test_the_path_names_the_conditions(tmp_path):
    expected = tmp_path / "amd-epyc-7763-64-core-processor" / "onnxruntime-1.32.0-float32-b1.json"
    assert table_path(tmp_path, CONDITIONS) == expected
    two = dataclasses.replace(CONDITIONS, threads=2)
    assert table_path(tmp_path, two).name == "onnxruntime-1.32.0-float32-b1-t2.json"


def test_what_is_stored_is_found_again(tmp_path):
    path = tmp_path / "device" / "table.json"
    assert stored(path, CONDITIONS) == LatencyTable(CONDITIONS)
    assert store(path, table(a=1.0, b=2.0)) == stored(path, CONDITIONS) == table(a=1.0, b=2.0)


def test_additions_are_brought_to_the_stored_scale_and_nothing_stored_changes(tmp_path):
    path = tmp_path / "table.json"
    store(path, table(a=1.0, b=2.0))
    slower = dataclasses.replace(
        table(a=1.5, b=3.0, c=6.0),
        networks={NET: NetworkLatency(LatencySummary(15.0, 15.0, 15.0, 9), 3.0, 0.9)},
    )
    found = store(path, slower)
    assert medians(found) == {"a": 1.0, "b": 2.0, "c": 4.0}
    assert found.networks[NET].total.median_ms == 10.0
    assert found.networks[NET].fixed_ms == 2.0
    assert store(path, slower) == found


def test_a_file_keeps_its_own_ballast(tmp_path):
    path, apart = tmp_path / "table.json", dataclasses.replace(CONDITIONS, ballast_mib=4.0)
    assert stored(path, apart).conditions == apart
    store(path, table(a=1.0))
    assert stored(path, apart) == table(a=1.0)
    with pytest.raises(TableError, match=r"ballast_mib None against 4\.0"):
        store(path, LatencyTable(apart))


def test_what_a_network_covers_adds_up(tmp_path):
    path = tmp_path / "table.json"
    networks = {NET: NetworkLatency(LatencySummary(1.0, 1.0, 1.0, 9), 0.5)}
    bare = dataclasses.replace(table(), networks=networks)
    store(path, bare.covering(NET, "drop"))
    found = store(path, bare.covering(NET, "fit").covering(NET, "fit"))
    assert found.networks[NET].covers == ("drop", "fit")


def test_a_file_is_sorted_and_short_enough_to_read_in_a_diff(tmp_path):
    path = tmp_path / "table.json"
    store(path, table(b=1 / 3, a=2.0))
    lines = path.read_text().splitlines()
    (first,) = [i for i, line in enumerate(lines) if f'"{key("a")}"' in line]
    assert f'"{key("b")}": {{"median_ms": 0.33333,' in lines[first + 1]


def test_another_devices_file_is_refused_with_both_named(tmp_path):
    path = tmp_path / "table.json"
    store(path, table(a=1.0))
    other = dataclasses.replace(CONDITIONS, device="abacus", runtime_version="2.0")
    with pytest.raises(TableError, match=r"7763.*against 'abacus'.*'1\.32\.0' against '2\.0'"):
        stored(path, other)
    with pytest.raises(TableError, match="choose another file"):
        store(path, LatencyTable(other))
    assert stored(path, CONDITIONS) == table(a=1.0)


def test_a_file_cut_short_or_of_a_newer_schema_is_refused_and_kept(tmp_path):
    path = tmp_path / "table.json"
    store(path, table(a=1.0))
    whole = path.read_text()
    newer = json.dumps({**json.loads(whole), "schema_version": 99})
    for content, message in ((whole[:-20], "not whole JSON"), (newer, "schema version 99")):
        path.write_text(content)
        with pytest.raises(ArtefactError, match=message):
            store(path, table(b=1.0))
        assert path.read_text() == content


def test_a_table_of_the_first_schema_is_read(tmp_path):
    path = tmp_path / "table.json"
    store(path, table(a=1.0))
    content = json.loads(path.read_text())
    content["schema_version"] = 1
    del content["sha256"]
    entry = content["entries"][str(key("a"))]
    del entry["settled"]
    content["networks"][str(NET)] = {"total": entry, "fixed_ms": 0.5}
    path.write_text(json.dumps(content))
    found = stored(path, CONDITIONS)
    assert found.entries[key("a")].settled is None
    assert found.networks[NET].blocks_share is None


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    path = tmp_path / "table.json"
    store(path, table(a=1.0))
    left_over = tmp_path / f".table.json.{'0f' * 8}"
    left_over.write_text("{")
    theirs = [tmp_path / name for name in (".table.json.swp", ".table.json.bak", ".table.json.k")]
    for other in theirs:
        other.write_text("an editor's")
    assert medians(store(path, table(b=1.0))) == {"a": 1.0, "b": 1.0}
    assert not left_over.exists()
    assert all(other.read_text() == "an editor's" for other in theirs)


def test_a_name_is_no_pattern(tmp_path):
    other = tmp_path / f".ab.json.{'0f' * 8}"
    other.write_text("of another table")
    store(tmp_path / "a[b].json", table(a=1.0))
    assert other.exists()


def _add(path, first, count):
    for i in range(first, first + count):
        store(path, table(**{f"entry{i}": 1.0}))


def test_two_processes_lose_nothing_of_each_other(tmp_path):
    path = tmp_path / "table.json"
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_add, args=(path, first, 25)) for first in (0, 25)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(stored(path, CONDITIONS).entries) == 50


def test_a_process_killed_at_any_moment_leaves_a_whole_table(tmp_path):
    path = tmp_path / "table.json"
    store(path, table(**{f"old{i}": 1.0 for i in range(200)}))
    spawn = multiprocessing.get_context("spawn")
    worker = spawn.Process(target=_add, args=(path, 0, 100_000))
    worker.start()
    while len(found := stored(path, CONDITIONS).entries) < 205:
        assert worker.is_alive()
    worker.kill()
    worker.join()
    left = stored(path, CONDITIONS).entries
    assert set(found) <= set(left)
    assert len(store(path, table(new=1.0)).entries) == len(left) + 1
