"""A kind of candidate that another package brings, and a run whose plan takes it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from depthopt import plugins
from depthopt.core.artefacts import save_json
from depthopt.core.candidate import Candidate
from depthopt.core.operators import Activation
from depthopt.kinds.kind import Kind
from tests.report.run_folder import small_candidates, small_chain, write_run

KIND = Kind(
    name="squeeze",
    verb="squeezed",
    letter="Q",
    colour=("#7b3f98", "#c79be0"),
    pattern="dots",
    candidates=lambda *_: (),
)


@dataclass(frozen=True, slots=True)
class Brought:
    """What stands for an entry point of another package."""

    kind: Kind
    value: str = "squeezer:KIND"
    dist: None = None

    def load(self) -> Kind:
        """The kind, as from its module."""
        return self.kind


def bring(monkeypatch: pytest.MonkeyPatch, kind: Kind = KIND) -> None:
    """Let another package bring a kind."""
    brought = {"depthopt.kinds": {kind.name: (Brought(kind),)}}
    monkeypatch.setattr(plugins, "_found", lambda group: brought.get(group, {}))


def write_squeezed_run(folder: Path) -> int:
    """A run whose plan drops blocks 1 and 2, squeezes 3 and 4, and keeps the others; its index."""
    chain = small_chain()
    down = chain.blocks[3].operator
    squeezed = Candidate(3, 5, KIND.name, (down,), Activation("relu"))
    frontier = write_run(folder, chain, [*small_candidates(chain), squeezed])
    plans = [frontier.plan(i) for i in range(len(frontier.points))]
    kinds = [[choice.kind for choice in plan.choices] for plan in plans]
    index = kinds.index(["keep", "drop", "squeeze", "keep"])
    save_json(plans[index], folder / "plan.json")
    return index
