"""The walks over a segment against recursions that know nothing of their order."""

import numpy as np
import pytest

from depthopt.core.chain import Chain
from depthopt.core.fold import Edge, edges_of, fold, fold_back
from tests.chains import chain_of, random_chain


def segments(seed: int) -> list[tuple[Chain, int, int]]:
    """The legal segments of random chains whose skips nest and lie side by side."""
    random = np.random.default_rng(seed)
    chains = [random_chain(random, int(random.integers(2, 9))) for _ in range(20)]
    return [(chain, start, end) for chain in chains for start, end in chain.segments()]


def weight(edge: Edge) -> int:
    """Another one for every source, target and length."""
    return 2 + 7 * edge.source + 3 * edge.target + 11 * len(edge.layers)


@pytest.mark.parametrize("seed", range(5))
def test_fold_is_the_sum_over_all_ways_through_the_segment(seed: int) -> None:
    for chain, start, end in segments(seed):
        edges = edges_of(chain, start, end)

        def at(position: int) -> list[str]:
            """Every way to a position, written out."""
            if position == start:  # noqa: B023 - called at once
                return ["x"]
            return [
                f"{way} {edge.source}>{edge.target}*{weight(edge)}"
                for edge in edges  # noqa: B023 - called at once
                if edge.target == position
                for way in at(edge.source)
            ]

        found = fold(
            edges,
            ["x"],
            lambda edge, ways: [f"{w} {edge.source}>{edge.target}*{weight(edge)}" for w in ways],
            lambda some, others: some + others,
        )
        assert found == at(end)


@pytest.mark.parametrize("seed", range(5))
def test_fold_back_is_the_greatest_need_over_all_ways_from_a_position(seed: int) -> None:
    for chain, start, end in segments(seed):
        edges = edges_of(chain, start, end)

        def need(position: int) -> int:
            if position == end:  # noqa: B023 - called at once
                return 5
            return max(
                2 * need(edge.target) + weight(edge)
                for edge in edges  # noqa: B023 - called at once
                if edge.source == position
            )

        found = fold_back(edges, 5, lambda edge, after: 2 * after + weight(edge), max)
        assert found == {position: need(position) for position in range(start, end + 1)}


def test_every_edge_is_gone_through_once_and_only_its_own_value_is_asked_for() -> None:
    chain = chain_of(["relu"] * 4, [(0, 2), (0, 4), (2, 4)])
    edges = edges_of(chain, 0, 4)
    seen: list[Edge] = []

    def through(edge: Edge, position: int) -> int:
        assert position == edge.source
        seen.append(edge)
        return edge.target

    def plus(one: int, other: int) -> int:
        assert one == other
        return one

    assert fold(edges, 0, through, plus) == 4
    assert seen == list(edges)


def test_edges_are_a_segments_blocks_each_before_the_skips_that_end_with_it() -> None:
    chain = chain_of(["relu"] * 4, [(0, 2), (1, 3), (0, 4), (2, 4)])
    assert [(e.source, e.target, len(e.layers)) for e in edges_of(chain, 0, 4)] == [
        (0, 1, 1), (1, 2, 1), (0, 2, 0), (2, 3, 1), (1, 3, 0), (3, 4, 1), (0, 4, 0), (2, 4, 0),
    ]  # fmt: skip
    inside = edges_of(chain, 2, 4, composed={3})
    assert [(e.source, e.target, len(e.layers)) for e in inside] == [
        (2, 3, 0), (3, 4, 1), (2, 4, 0),
    ]  # fmt: skip
    assert [layer.name for edge in inside for layer in edge.layers] == ["b3"]
    plain = edges_of(chain, 2, 4, skips=())
    assert [(e.source, e.target, len(e.layers)) for e in plain] == [(2, 3, 1), (3, 4, 1)]
