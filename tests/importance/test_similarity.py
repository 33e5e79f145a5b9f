"""MKA's similarity of blocks: the diffusion map, and the information that two of them share."""

import math

import pytest
import torch
from torch import Tensor

from depthopt.errors import DataError
from depthopt.extraction.extract import extract
from depthopt.importance.similarity import diffusion_map, ranks, similarities, similarity
from tests.transformers import SIZE, small


def normal(n: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, dtype=torch.float64, generator=generator)


def up_to_signs(one: Tensor, two: Tensor) -> None:
    signs = (one * two).sum(0).sign()
    torch.testing.assert_close(one, signs * two, rtol=1e-6, atol=1e-8)


def test_a_map_follows_neither_rotation_nor_shift_nor_the_order_of_images() -> None:
    rows = normal(200, 6) * torch.tensor([3.0, 2, 1, 1, 1, 1], dtype=torch.float64)
    wanted = diffusion_map(rows)
    rotation, _ = torch.linalg.qr(normal(6, 6, seed=1))
    up_to_signs(diffusion_map(rows @ rotation + 5), wanted)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(2))
    up_to_signs(diffusion_map(rows[order]), wanted[order])


def test_two_clusters_lie_on_two_sides_and_a_circle_stays_one() -> None:
    near = normal(100, 5) + torch.repeat_interleave(torch.tensor([0.0, 30.0]), 50)[:, None]
    first = diffusion_map(near)[:, 0]
    assert bool((first[:50].sign() == -first[50:].sign()).all())
    angle = torch.arange(100, dtype=torch.float64) * 2 * math.pi / 100
    circle = diffusion_map(torch.stack([angle.cos(), angle.sin()], 1))
    torch.testing.assert_close(circle.norm(dim=1), circle.norm(dim=1).mean().expand(100))


def test_ranks() -> None:
    rows = torch.tensor([[0.3, 1.0], [0.1, 1.0], [0.9, 5.0]], dtype=torch.float64)
    wanted = torch.tensor([[2, 1.5], [1, 1.5], [3, 3]], dtype=torch.float64)
    torch.testing.assert_close(ranks(rows), wanted)


def test_similarity_is_1_with_itself_near_0_if_independent_and_symmetric() -> None:
    one, two = ranks(normal(2000, 2)), ranks(normal(2000, 2, seed=1))
    assert similarity(one, one) == 1
    assert similarity(one, two) < 0.1
    both = ranks(normal(2000, 2) + 0.3 * normal(2000, 2, seed=1))
    assert 0.1 < similarity(one, both) < 1
    assert similarity(one, both) == similarity(both, one)
    noisier = ranks(normal(2000, 2) + normal(2000, 2, seed=1))
    assert similarity(one, noisier) < similarity(one, both)


def test_similarity_does_not_follow_monotone_maps_signs_or_order() -> None:
    one, two = normal(500, 2), normal(500, 2) + normal(500, 2, seed=1)
    wanted = similarity(ranks(one), ranks(two))
    assert similarity(ranks(one.exp()), ranks(-two)) == wanted
    order = torch.randperm(500, generator=torch.Generator().manual_seed(2))
    assert similarity(ranks(one[order]), ranks(two[order])) == pytest.approx(wanted, abs=1e-12)


def test_the_blocks_of_a_network() -> None:
    model = small("vit").double()
    chain = extract(model, SIZE)
    with torch.no_grad():  # the third block adds next to nothing
        for last in (model.blocks[2].attn.proj, model.blocks[2].mlp.fc2):
            last.weight.mul_(1e-3)
            last.bias.mul_(1e-3)
    batches = [normal(25, math.prod(SIZE), seed).reshape(25, *SIZE) for seed in range(4)]
    table = similarities(model, chain, batches)
    assert (table.model, table.images, table.ends) == (chain.model, 100, (3, 5, 7))
    found = torch.tensor(table.values)
    assert bool((found == found.T).all())
    assert found.diag().tolist() == [1, 1, 1]
    assert float(found[1, 2]) > 0.98
    assert float(found[1, 2]) > float(found[0, 1])
    with pytest.raises(DataError, match="too few"):
        similarities(model, chain, batches[:1])
