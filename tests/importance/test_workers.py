"""Parts of a table, worked at here, on processes or on Ray."""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from depthopt.errors import DataError, DepthoptError, RuntimeUnavailable, UsageError
from depthopt.extraction.extract import extract
from depthopt.importance import workers
from depthopt.importance.estimate import estimate
from depthopt.importance.regression import parts_of
from depthopt.importance.workers import Workers
from depthopt.kinds.candidates import candidates
from tests.networks import Residual

SIZE = (2, 8, 8)
MODEL = Residual()
CHAIN = extract(MODEL, SIZE)
ALL = candidates(CHAIN, kinds=("drop", "fit", "merge"), fewer_macs=False)
SCORED = [c for c in ALL if c.kind != "keep"]
torch.manual_seed(0)
FITTING = [torch.randn(16, *SIZE) for _ in range(5)]
HELD_OUT = [(torch.randn(16, *SIZE), torch.randint(0, 3, (16,))) for _ in range(2)]
DATA = {"fitting": FITTING, "held_out": HELD_OUT}


@pytest.mark.parametrize("count", [1, 3, 100])
def test_parts_hold_every_candidate_once(count: int) -> None:
    parts = parts_of(CHAIN, SCORED, "fused", workers=count, memory_bytes=2**30)
    assert sorted(c.key for part in parts for c in part) == sorted(c.key for c in SCORED)
    assert len(parts) >= min(count, 3)


def test_few_candidates_are_not_spread_thin() -> None:
    """A part runs the whole network over all images: one drop is not worth that."""
    drops = [c for c in SCORED if c.kind == "drop"]
    assert len(parts_of(CHAIN, drops, "fused", workers=1, memory_bytes=2**30)) == 1
    parts = parts_of(CHAIN, SCORED, "fused", workers=1, memory_bytes=2**30)
    assert 1 < len(parts) <= 5


def test_candidates_of_one_gram_matrix_stay_together_under_any_bound_on_memory() -> None:
    parts = parts_of(CHAIN, SCORED, "fused", workers=1, memory_bytes=1)
    of = {c: i for i, part in enumerate(parts) for c in part}
    ends = [of[c] for c in SCORED if c.kind == "fit" and c.start == 1
            and c.convolution.groups == 1 and c.convolution.stride == (1, 1)]  # fmt: skip
    assert len(parts) > 3
    assert len(ends) > 2
    assert len(set(ends)) == 1


def test_the_number_of_threads_changes_no_bit() -> None:
    tables = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        tables.append(estimate(MODEL, CHAIN, ALL, **DATA))
        assert torch.get_num_threads() == threads
        torch.set_num_threads(before)
    assert tables[0] == tables[1]


def test_what_is_known_is_not_estimated_again() -> None:
    updates, steps = [], []
    whole = estimate(MODEL, CHAIN, ALL, on_update=updates.append, **DATA)
    assert len(updates) > 1
    assert updates[-1].entries == whole.entries
    again = estimate(
        MODEL, CHAIN, ALL, table=updates[0], progress=lambda *done: steps.append(done), **DATA
    )
    assert again == whole
    assert list(again.entries) == list(whole.entries)
    assert steps[-1][0] == steps[-1][1] < 5 * 4 + len(SCORED) * 2


def test_ray_is_named_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RuntimeUnavailable, match="run: pip install ray"):
        estimate(MODEL, CHAIN, ALL, workers=Workers(2, "auto"), **DATA)
    assert list(Workers(2).each(str, [])) == [], "nothing to do needs no workers"
    with pytest.raises(UsageError, match="workers is 0"):
        Workers(0)
    with pytest.raises(UsageError, match="how many workers of the cluster auto"):
        Workers(address="auto")


def dying_once(mark: Path):
    """A training after which, the first time, the worker is no more."""

    def train(network: torch.nn.Module) -> None:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with torch.no_grad():
            next(network.parameters()).mul_(1.5)

    return train


@pytest.mark.slow
@pytest.mark.parametrize("address", [None, "local"], ids=["processes", "ray"])
def test_workers_give_the_same_table_bit_for_bit_and_outlive_one_of_them(
    tmp_path: Path, address: str | None
) -> None:
    two = Workers(2, address)
    whole = estimate(MODEL, CHAIN, ALL, **DATA)
    assert estimate(MODEL, CHAIN, ALL, workers=two, **DATA) == whole
    some = SCORED[::9]
    here = estimate(MODEL, CHAIN, some, estimator="finetune", train=dying_once(tmp_path), **DATA)
    mark = tmp_path / "died"
    there = estimate(
        MODEL, CHAIN, some, estimator="finetune", train=dying_once(mark), workers=two, **DATA
    )
    assert mark.exists()
    assert there == here


def test_a_part_whose_worker_died_is_done_again(tmp_path: Path) -> None:
    def square(part: int) -> int:
        mark = tmp_path / str(part)
        if part == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return part * part

    assert sorted(Workers(2).each(square, [1, 2, 3])) == [(1, 1), (2, 4), (3, 9)]
    assert (tmp_path / "2").exists()


def test_a_worker_may_have_a_data_loader_with_workers_of_its_own() -> None:
    def total(part: int) -> int:
        loader = torch.utils.data.DataLoader(range(part), num_workers=1, batch_size=2)
        return sum(int(batch.sum()) for batch in loader)

    assert list(Workers(1).each(total, [5])) == [(5, 10)]


def test_parts_whose_workers_always_die_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("depthopt.importance.workers.RETRIES", 1)

    def end(_: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(DepthoptError, match="died 2 times"):
        list(Workers(1).each(end, [1]))


def test_what_work_raises_on_a_worker_is_raised_here() -> None:
    def refuse(part: int) -> int:
        raise DataError(f"no {part}")

    with pytest.raises(DataError, match="no 5"):
        list(Workers(1).each(refuse, [5]))


@pytest.mark.slow
@pytest.mark.parametrize("address", [None, "local"], ids=["processes", "ray"])
def test_an_error_on_a_worker_is_the_users_error(address: str | None) -> None:
    broken = {"fitting": [x * torch.nan for x in FITTING], "held_out": HELD_OUT}
    with pytest.raises(DataError, match="NaN or infinite"):
        estimate(MODEL, CHAIN, ALL, workers=Workers(1, address), **broken)


def test_as_many_workers_as_the_machine_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(available=7 << 30)
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(workers.psutil, "virtual_memory", lambda: memory)
    assert workers.automatic(400) == 3, "of 7 GiB"
    assert workers.automatic(5) is None, "they take longer to begin"
    memory.available = 3 << 30
    assert workers.automatic(400) is None
    memory.available = 64 << 30
    assert workers.automatic(400) == 8
    monkeypatch.setattr(workers.importlib.util, "find_spec", lambda _: None)
    assert workers.automatic(400) is None, "without the extra"
