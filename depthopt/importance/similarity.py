"""How similar a transformer's blocks are: MKA's measure, from one pass over some images.

MKA, manifold-based knowledge alignment (EMNLP 2024, https://arxiv.org/abs/2406.16330): a diffusion
map of each block's outputs, and between two of them the normalised pairwise information bottleneck
(NPIB), their mutual information over the root of the product of their entropies. Three things are
other than in the released code, which measures distances between tokens and not between images, has
entropies that may be below 0, and no 1 on the diagonal:

- A row is an image: the mean of its tokens.
- The kernel's width is the median distance, as a fixed one would depend on the network's width.
- Mutual information and entropies are estimated by the same nearest neighbours, so that what is
  similar to itself is so by 1, and what is independent by 0.
"""

from collections.abc import Iterable
from itertools import combinations

import torch
from torch import Tensor, nn

from depthopt.core.chain import Chain
from depthopt.core.inputs import Inputs, moved
from depthopt.core.repeats import ends_of_blocks
from depthopt.errors import DataError, UsageError
from depthopt.graph.partial import record
from depthopt.graph.trace import trace
from depthopt.tables.similarity import Similarities

NEIGHBOURS, DIMENSIONS, EXPONENT = 5, 2, 0.5
"""Nearest neighbours that information is told by, coordinates of a map, and the exponent of scaled
distances in its kernel."""

LEAST_IMAGES, MOST_IMAGES = 4 * (DIMENSIONS + NEIGHBOURS), 1024
"""Images that similarities may be told by: work grows with their cube."""

_DENSITY = 0.5
"""How much of the density of images is taken out of a map: MKA's alpha."""


@torch.no_grad()
def similarities(model: nn.Module, chain: Chain, batches: Iterable[Inputs]) -> Similarities:
    """How similar the outputs of a transformer's blocks are, where blocks beside them are alike.

    Args:
        model: the network; it is not changed.
        chain: its chain.
        batches: of inputs; some hundred images do, and the first 1,024 are taken.

    Raises:
        DataError: too few images, or a tensor is not finite.
        UsageError: the network has no two blocks that are alike.
    """
    ends = ends_of_blocks(chain)
    if not ends:
        raise UsageError(
            f"{chain.model} has no two transformer blocks in a row that are alike; similarity is "
            "told of those"
        )
    network = trace(model, chain.input_size)
    like = next(network.parameters())
    names = [chain.ending(end - 1, end).output for end in ends]
    means: list[list[Tensor]] = [[] for _ in ends]
    for inputs in batches:
        tokens = record(network, moved(inputs, like), names)
        for rows, name in zip(means, names, strict=True):
            rows.append(tokens[name].double().mean(1))
        if sum(map(len, means[0])) >= MOST_IMAGES:
            break
    every = [torch.cat(rows)[:MOST_IMAGES] for rows in means if rows]
    if not every or len(every[0]) < LEAST_IMAGES:
        raise DataError(
            f"{len(every[0]) if every else 0} images are too few to tell how similar blocks are; "
            "give some hundred"
        )
    maps = [ranks(diffusion_map(rows)) for rows in every]
    values = [[1.0] * len(ends) for _ in ends]
    for i, j in combinations(range(len(ends)), 2):
        values[i][j] = values[j][i] = similarity(maps[i], maps[j])
    return Similarities(chain.model, len(every[0]), ends, tuple(tuple(row) for row in values))


def diffusion_map(rows: Tensor, dimensions: int = DIMENSIONS, exponent: float = EXPONENT) -> Tensor:
    """The leading coordinates of a diffusion map (Coifman and Lafon, 2006), (n, dimensions).

    Args:
        rows: (n, features), one for each image.
        dimensions: how many coordinates.
        exponent: of distances over their median, in the kernel.

    Raises:
        DataError: the rows are not finite.
    """
    n = len(rows)
    if not bool(torch.isfinite(rows).all()):
        raise DataError("the tokens hold NaN or infinite values on calibration images")
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    apart = distances[~torch.eye(n, dtype=torch.bool)]
    kernel = torch.exp(-((distances / apart.median().clamp_min(1e-300)) ** exponent))
    density = kernel.sum(0) ** _DENSITY
    kernel = kernel / density[:, None] / density[None]
    root = kernel.sum(0).sqrt()
    values, vectors = torch.linalg.eigh(kernel / root[:, None] / root[None])
    leading = values.abs().argsort(descending=True)[: dimensions + 1]
    vectors = vectors[:, leading]
    coordinates: Tensor = vectors[:, 1:] / vectors[:, :1]
    return coordinates


def ranks(coordinates: Tensor) -> Tensor:
    """The rank of each number in its column, from 1; equal ones share their mean rank."""
    columns = []
    for column in coordinates.T.contiguous():
        _, where, counts = column.unique(return_inverse=True, return_counts=True)
        upto = counts.cumsum(0).double()
        columns.append((upto - (counts - 1) / 2)[where])
    return torch.stack(columns, 1)


def similarity(one: Tensor, two: Tensor, neighbours: int = NEIGHBOURS) -> float:
    """The normalised mutual information of two maps of the same images, from 0 to 1.

    It is the estimate of Kraskov, Stoegbauer and Grassberger (2004, equation 8,
    https://arxiv.org/abs/cond-mat/0305641), over what the same estimate gives for a map with
    itself.

    Args:
        one: ranks (n, dimensions).
        two: those of the other map.
        neighbours: that densities are told by.
    """
    n = len(one)
    apart = [torch.cdist(each, each, p=torch.inf) for each in (one, two)]
    for each in apart:
        each.fill_diagonal_(torch.inf)
    reach = torch.maximum(*apart).kthvalue(neighbours, dim=1).values
    within = [(each < reach[:, None]).sum(1).double() for each in apart]
    counts = torch.tensor([neighbours, n], dtype=torch.float64)
    own, every = (float(value) for value in torch.digamma(counts))
    information = own + every - float(sum(torch.digamma(count + 1).mean() for count in within))
    return min(1.0, max(0.0, information / (every - own)))
