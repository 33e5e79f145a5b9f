"""Write the golden files: ``python -m tests.golden.write FOLDER [--networks NAME ...]``.

They hold what the package gave for a few networks before its restructuring, and were written by
this script on commit cbb3113, whose package is as it was at version 0.1.0. ``test_golden.py``
works the same out again and compares.

For each network of ``cases.py`` there is a folder. It holds artefacts as ``save_json`` writes
them at schema version 1 (``chain.json``, ``candidates.json``, ``latency.json``,
``magnitude.json``, ``fit.json``, ``plan_*.json``), the same and more as plain data, which does not
depend on how dataclasses are laid out (``plain_*.json``: see ``plain.py``), and
``conditions.json``: what bits depend on. Weights are kept as digests only.

Run it on the commit that is to be held on to, never to make a failing test pass.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from depthopt.core.artefacts import save_json
from depthopt.pipeline.context import CandidateList
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
from tests.golden.compare import conditions, text
from tests.golden.plain import plain_candidates, plain_chain, plain_frontier, plain_plan


def write(case: str, folder: Path) -> None:
    """Write the files of one network."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    chain, found = chain_of(case), candidates_of(case)
    latency = latencies(chain, found)
    magnitude, fit = magnitudes(case, found), fits(case, found, latency)
    solved = frontiers(chain, found, latency, magnitude, fit)
    plans = plans_of(solved)
    artefacts = {
        "chain": chain,
        "candidates": CandidateList(found),
        "latency": latency,
        "magnitude": magnitude,
        "fit": fit,
        **{f"plan_{name}": plan for name, plan in plans.items()},
    }
    for name, value in artefacts.items():
        save_json(value, folder / f"{name}.json")
    keys = [candidate.key for candidate in found]
    trained = {f"{name} {form}": networks(case, plans[name], form) for name, form in TRAINED}
    solved_plain = {name: plain_frontier(frontier, keys) for name, frontier in solved.items()}
    plain: dict[str, tuple[Any, int]] = {
        "plain_chain": (plain_chain(chain), 2),
        "plain_candidates": (plain_candidates(chain, found), 1),
        "plain_frontiers": (solved_plain, 3),
        "plain_plans": ({name: plain_plan(plan) for name, plan in plans.items()}, 2),
        "plain_networks": (trained, 4),
        "conditions": (conditions(), 2),
    }
    for name, (content, depth) in plain.items():
        (folder / f"{name}.json").write_text(text(content, depth))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the golden files.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="+", choices=list(CASES), default=list(CASES))
    given = parser.parse_args()
    for name in given.networks:
        write(name, given.folder / name)
