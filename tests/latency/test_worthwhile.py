"""Which candidates are not worth being scored."""

from dataclasses import replace

import numpy as np

from depthopt.kinds.candidates import candidates
from depthopt.latency.worthwhile import worthwhile
from tests.chains import chain_of
from tests.frontier.tables import tables


def test_of_two_widths_as_fast_only_the_wider_one_is() -> None:
    chain = chain_of(["relu", None])
    listed = candidates(chain, kinds=("narrow",), widths=(0.75, 0.5, 0.25), width_step=1)
    three, two, one = (c for c in listed if c.replaces)
    latency, _ = tables(np.random.default_rng(0), chain, listed)

    def found(**ms: float) -> set[int]:
        by_channels = {"4": 4.0, "3": ms["three"], "2": ms["two"], "1": ms["one"]}
        entries = {
            key: replace(entry, median_ms=by_channels[str(key.operator.in_channels)])
            for key, entry in latency.entries.items()
        }
        worth = worthwhile(chain, listed, replace(latency, entries=entries))
        assert {c for c in listed if not c.replaces} <= set(worth)
        return {c.operators[-1].in_channels for c in worth if c.replaces}

    assert {c.operators[0].out_channels for c in (three, two, one)} == {3, 2, 1}
    assert found(three=3.0, two=2.0, one=1.0) == {3, 2, 1}
    assert found(three=2.0, two=2.0, one=1.0) == {3, 1}
    assert found(three=2.0, two=3.0, one=2.5) == {3}, "not even where the next one is slower yet"
    assert found(three=4.0, two=2.0, one=1.0) == {2, 1}, "as slow as the blocks"
