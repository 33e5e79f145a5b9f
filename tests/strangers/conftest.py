"""``extract`` proves each network; proving it before each plan would take as long again."""

from collections.abc import Iterator
from functools import partial

import pytest

from depthopt.graph.trace import trace


@pytest.fixture(scope="module", autouse=True)
def _proven_by_extract_alone() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("depthopt.shallow.build.trace", partial(trace, proven=False))
        yield
