"""What the package gives now against the golden files of before (``write.py``).

Every step is worked out from the files of the step before. The tests' names say how each
network's files are compared here: ``bytes`` or ``tolerance`` (``compare.py``).
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from depthopt.core.artefacts import load_json
from depthopt.core.candidate import Candidate
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan
from depthopt.pipeline.context import CandidateList
from depthopt.rewrite.options import Form
from depthopt.tables.importance import ImportanceTable
from depthopt.tables.latency import LatencyTable
from tests.golden.cases import (
    CASES,
    TRAINED,
    candidates_of,
    chain_of,
    fits,
    frontiers,
    latencies,
    magnitudes,
    networks,
    plans_of,
)
from tests.golden.compare import (
    Mode,
    conditions,
    difference,
    in_new_words,
    mode_of,
    table_in_new_words,
)
from tests.golden.plain import (
    plain_candidates,
    plain_chain,
    plain_frontier,
    plain_importances,
    plain_latencies,
    plain_plan,
)

FILES = Path(__file__).parent / "files"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _modes() -> dict[str, Mode]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {case: mode_of(FILES / case) for case in CASES}
    finally:
        torch.set_num_threads(threads)


MODES = _modes()
EVERY = [pytest.param(case, id=f"{case}-{MODES[case]}") for case in CASES]
REGRESSED = [
    pytest.param(
        case,
        id=f"{case}-{MODES[case]}",
        marks=[pytest.mark.slow] if CASES[case].slow else [],
    )
    for case in CASES
]


def stored(case: str, name: str) -> Any:
    """What a file holds, as JSON; of an artefact all but its type and schema version."""
    content = json.loads((FILES / case / f"{name}.json").read_text())
    return {k: v for k, v in content.items() if k not in {"type", "schema_version"}}


def read_candidates(case: str) -> tuple[Candidate, ...]:
    return load_json(CandidateList, FILES / case / "candidates.json").candidates


def read_latencies(case: str) -> LatencyTable:
    return load_json(LatencyTable, FILES / case / "latency.json")


def read_importances(case: str, name: str) -> ImportanceTable:
    return load_json(ImportanceTable, FILES / case / f"{name}.json")


def read_plan(case: str, name: str) -> Plan:
    return load_json(Plan, FILES / case / f"plan_{name}.json")


@pytest.mark.parametrize("case", EVERY)
def test_the_chain_is_as_it_was(case: str) -> None:
    chain = chain_of(case)
    barriers = tuple(replace(barrier, macs=0) for barrier in chain.barriers)
    chain = replace(chain, barriers=barriers, other_macs=0)  # linear layers were not counted
    assert load_json(Chain, FILES / case / "chain.json") == chain
    assert difference(stored(case, "plain_chain"), plain_chain(chain), "bytes") is None


@pytest.mark.parametrize("case", EVERY)
def test_the_candidates_are_as_they_were(case: str) -> None:
    found = candidates_of(case)
    assert read_candidates(case) == found
    now = plain_candidates(chain_of(case), found)
    assert difference(stored(case, "plain_candidates"), now, "bytes") is None
    assert [Candidate.parse(key) for key in now] == list(found)


@pytest.mark.parametrize("case", EVERY)
def test_the_latency_table_is_as_it_was(case: str) -> None:
    table = latencies(chain_of(case), candidates_of(case))
    assert read_latencies(case) == table
    assert difference(stored(case, "latency"), plain_latencies(table), "bytes") is None


@pytest.mark.parametrize("case", EVERY)
def test_magnitudes_are_as_they_were(case: str) -> None:
    table = magnitudes(case, candidates_of(case))
    held = table_in_new_words(stored(case, "magnitude"))
    assert difference(held, plain_importances(table), MODES[case]) is None
    assert MODES[case] != "bytes" or read_importances(case, "magnitude") == table


@pytest.mark.parametrize("case", REGRESSED)
def test_fits_are_as_they_were(case: str) -> None:
    table = fits(case, candidates_of(case), read_latencies(case))
    golden = table_in_new_words(stored(case, "fit"))
    assert difference(golden, plain_importances(table), MODES[case]) is None
    golden_table = read_importances(case, "fit")  # says neither unit nor form
    assert MODES[case] != "bytes" or golden_table == replace(table, unit="", form="")


@pytest.mark.parametrize("case", EVERY)
def test_frontiers_and_plans_are_as_they_were(case: str) -> None:
    found = candidates_of(case)
    solved = frontiers(
        chain_of(case),
        found,
        read_latencies(case),
        read_importances(case, "magnitude"),
        read_importances(case, "fit"),
    )
    keys = [candidate.key for candidate in found]
    now = {name: plain_frontier(frontier, keys) for name, frontier in solved.items()}
    assert difference(stored(case, "plain_frontiers"), now, MODES[case]) is None
    plans = plans_of(solved)
    plain = {name: plain_plan(plan) for name, plan in plans.items()}
    assert difference(stored(case, "plain_plans"), plain, MODES[case]) is None
    if MODES[case] == "bytes":
        assert {name: read_plan(case, name) for name in plans} == plans


@pytest.mark.parametrize(("name", "form"), TRAINED)
@pytest.mark.parametrize("case", REGRESSED)
def test_compressed_networks_are_as_they_were(case: str, name: str, form: Form) -> None:
    golden = in_new_words(stored(case, "plain_networks"))[f"{name} {form}"]
    now = networks(case, read_plan(case, name), form)
    assert difference(golden, now, MODES[case]) is None


@pytest.mark.parametrize("mode", ["bytes", "tolerance"])
@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["entries"].update(a=1.02),
        lambda c: c["entries"].update(a=1),
        lambda c: c["entries"].update(b=None),
        lambda c: c["entries"].update(c=0.0),
        lambda c: c["entries"].update(metric_change=-13.0),
        lambda c: c["entries"].update(metric_change=None),
        lambda c: c["logits"].__setitem__(0, [0.2, -2.0]),
        lambda c: c["logits"].append([1.0, 2.0]),
        lambda c: c["entries"].update(a=c["entries"].pop("a")),
        lambda c: c.update(choices=[1, 2, 4]),
        lambda c: c.update(choices=[1, 2]),
        lambda c: c["tensor"].__setitem__(0, [3, 2]),
        lambda c: c["tensor"].__setitem__(1, "torch.float64"),
        lambda c: c["tensor"].__setitem__(2, "no digest"),
    ],
)
def test_a_change_is_seen_in_either_mode(change: Any, mode: Mode) -> None:
    found = difference(_content(), _changed(change), mode)
    assert found is not None
    assert found.startswith(f"compared by {mode}: ")
    assert difference(_content(), _content(), mode) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["entries"].update(a=1.0 + 2**-52),
        lambda c: c["entries"].update(b=-1e-6),
        lambda c: c["entries"].update(metric_change=-6.25),
        lambda c: c["logits"].__setitem__(0, [0.05, -2.0]),
        lambda c: c["tensor"].__setitem__(2, "b" * 24),
    ],
)
def test_a_rounding_is_seen_by_bytes_alone(change: Any) -> None:
    assert difference(_content(), _changed(change), "bytes") is not None
    assert difference(_content(), _changed(change), "tolerance") is None


def test_the_sign_of_a_nought_is_seen_by_bytes() -> None:
    assert difference([0.0], [-0.0], "bytes") is not None


def _content() -> dict[str, Any]:
    return {
        "entries": {"a": 1.0, "b": 0.0, "metric_change": 0.0},
        "logits": [[0.04, -2.0]],
        "choices": [1, 2, 3],
        "tensor": [[2, 3], "torch.float32", "a" * 24],
    }


def _changed(change: Any) -> dict[str, Any]:
    content = _content()
    change(content)
    return content


@pytest.mark.parametrize("name", [*conditions()])
def test_other_conditions_are_compared_within_a_tolerance(name: str, tmp_path: Path) -> None:
    here = conditions()
    path = tmp_path / "conditions.json"
    path.write_text(json.dumps(here))
    assert mode_of(tmp_path) == "bytes"
    path.write_text(json.dumps(here | {name: "another"}))
    assert mode_of(tmp_path) == "tolerance"
