"""Random plans over a chain."""

import random
from collections import defaultdict

from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.core.chain import Chain
from depthopt.core.plan import Plan


def random_plan(
    chain: Chain, candidates: tuple[Candidate, ...], seed: int, share: float = 0.6
) -> Plan:
    """A plan that replaces about every second segment that it could, or another share of them."""
    generator = random.Random(seed)
    by_start: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_start[candidate.start].append(candidate)
    choices, position = [], 0
    while position < len(chain.blocks):
        keep = [c for c in by_start[position] if c.kind == "keep"]
        other = [c for c in by_start[position] if c.kind != "keep"]
        choices.append(generator.choice(other if other and generator.random() < share else keep))
        position = choices[-1].end
    return plan_of(chain, *choices)


def plan_of(chain: Chain, *choices: Candidate) -> Plan:
    """A plan of these choices, the other blocks kept."""
    blocks = kept_blocks(chain)
    full: list[Candidate] = []
    for choice in choices:
        full += [*blocks[full[-1].end if full else 0 : choice.start], choice]
    full += blocks[full[-1].end if full else 0 :]
    return Plan(chain.model, chain.input_size, tuple(full), 1.0, 2.0, 0.0)
