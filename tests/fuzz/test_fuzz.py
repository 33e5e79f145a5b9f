"""Changed inputs of every kind: done, or refused in one line, and nothing else.

By default a sample of about ten seconds, always the same. ``-m fuzz`` tries 2,000 in a process of
their own, of a fresh seed or ``DEPTHOPT_FUZZ_SEED``; what is a defect stays in a folder that the
message names, and is tried again by ``python -m tests.fuzz.run --seed SEED --only INDEX``.
"""

import random
import tempfile
import time
from pathlib import Path

import pytest

from tests.fuzz import kinds, outcome
from tests.fuzz.corpus import fill
from tests.fuzz.kinds import KINDS, Command
from tests.fuzz.outcome import kind_of, tried
from tests.fuzz.run import defects, fresh_seed, fuzz, table

INPUTS = 2_000
SAMPLE = 50

LONG = {"dry run", "check"}
"""Kinds of which one input takes seconds."""


@pytest.fixture(scope="module")
def corpus(make_once) -> Path:
    return make_once("fuzz corpus", fill)


def test_a_sample_of_changed_inputs_is_done_or_refused(corpus, tmp_path, capsys) -> None:
    indices = [i for i in range(SAMPLE) if kind_of(i) not in LONG]
    found = [tried("sample", i, corpus, tmp_path / f"{i}") for i in indices]
    with capsys.disabled():
        print(f"\n{table(found)}")
    assert not defects(found), "\n\n".join(defects(found))
    assert {each.kind for each in found} >= set(KINDS) - LONG


@pytest.mark.fuzz
def test_changed_inputs_are_done_or_refused(capsys) -> None:
    seed, keep = fresh_seed(), Path(tempfile.mkdtemp(prefix="depthopt-fuzz-"))
    with capsys.disabled():
        print(f"\nseed {seed}, defects in {keep}")
    found = fuzz(seed, 0, INPUTS, keep)
    with capsys.disabled():
        print(table(found))
    assert len(found) == INPUTS
    told = "\n\n".join(defects(found))
    assert not told, f"DEPTHOPT_FUZZ_SEED={seed}, kept in {keep}:\n\n{told}"


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"command line", *LONG}))
def test_an_input_that_is_not_changed_is_done(kind, corpus, tmp_path, monkeypatch) -> None:
    """Else the fuzzer would try nothing but refusals."""
    for name in ("changed_value", "changed_text", "changed_bytes"):
        monkeypatch.setattr(kinds, name, lambda content, _: content)
    for name in ("_change_header", "_change_model"):
        monkeypatch.setattr(kinds, name, lambda *_: None)
    monkeypatch.setattr(kinds, "ODD_TEXTS", ("2",))
    monkeypatch.setattr(kinds, "ODD_NUMBERS", (2,))
    make = KINDS[kind][1]
    monkeypatch.setitem(KINDS, kind, (1, lambda folder, _: make(folder, _Last())))
    monkeypatch.setattr(outcome, "kind_of", lambda _: kind)
    found = tried("any", 0, corpus, tmp_path / "input")
    assert (found.name, found.what) == ("done", "")


class _Last(random.Random):
    """Takes the usual way at every choice."""

    def random(self) -> float:
        return 0.55

    def choice(self, options):
        return options[0]


def _fail() -> None:
    raise TypeError("no idea")


@pytest.mark.parametrize(
    ("case", "what"),
    [
        (_fail, "TypeError: no idea"),
        (lambda: time.sleep(9), "it takes too long"),
        (lambda: Path("short.yaml").unlink(), "short.yaml is lost or changed"),
        (lambda: Path("times.csv").write_text("x"), "times.csv is lost or changed"),
        (lambda: Path(".x.json.12").touch(), ".x.json.12 is left over"),
        (Command(("check", "--help")), ""),
    ],
)
def test_what_is_a_defect_is_noticed(case, what, corpus, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(outcome, "MOST_WALL_SECONDS", 0.2)
    monkeypatch.setitem(KINDS, "recipe", (1, lambda *_: case))
    monkeypatch.setattr(outcome, "kind_of", lambda _: "recipe")
    found = tried("any", 0, corpus, tmp_path / "input")
    assert found.name == ("defect" if what else "done")
    assert what in found.what
