"""Ends of replaced segments, by the modules that read them."""

from depthopt.extraction.extract import extract
from depthopt.graph.trace import trace
from depthopt.kinds.candidates import candidates
from depthopt.shallow.apply import apply
from depthopt.shallow.segment_ends import segment_ends
from tests.networks import Residual
from tests.plans import random_plan

SIZE = (2, 10, 11)
MODEL = Residual()
CHAIN = extract(MODEL, SIZE)
SHORT = candidates(CHAIN, kinds=("drop", "merge"), fewer_macs=False)


def test_both_networks_read_a_tensor_of_one_shape_there() -> None:
    seen = 0
    for seed in range(12):
        plan = random_plan(CHAIN, SHORT, seed)
        network, original = apply(MODEL, CHAIN, plan), trace(MODEL, SIZE)
        ends = segment_ends(CHAIN, plan)
        for own, wanted in ends:
            shapes = [
                module.weight.shape[1] * getattr(module, "groups", 1)
                for module in (network.get_submodule(own), original.get_submodule(wanted))
                if hasattr(module, "weight")
            ]
            assert len(set(shapes)) == 1
        following = zip(plan.choices, plan.choices[1:], strict=False)
        assert len(ends) == sum(a.kind != "keep" and b.kind != "drop" for a, b in following)
        seen += len(ends)
    assert seen > 5
