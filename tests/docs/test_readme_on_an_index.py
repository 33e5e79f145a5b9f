"""The README's links, as a package index shows them."""

import importlib.util
import re

import pytest

from tests.docs.sentences import ROOT

PAGE = """[![Seen](a/page.png)](docs/page.md)

See [the docs](docs/index.md#top), [arXiv](https://arxiv.org/abs/1) and [above](#up).

```python
rows[0](left)
```
"""


@pytest.fixture(scope="module")
def setup_py():
    spec = importlib.util.spec_from_file_location("setup_py", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_lead_to_the_repository(setup_py):
    page = setup_py.for_index(PAGE, "https://example.org/it", "v1")
    assert "[![Seen](https://example.org/it/raw/v1/a/page.png)]" in page
    assert "(https://example.org/it/blob/v1/docs/page.md)" in page
    assert "[the docs](https://example.org/it/blob/v1/docs/index.md#top)" in page
    assert "[arXiv](https://arxiv.org/abs/1) and [above](#up)" in page
    assert "rows[0](left)" in page


def test_without_an_address_no_link_is_dead(setup_py):
    page = setup_py.for_index(PAGE, None, "v1")
    assert page.startswith("\n\nSee the docs, [arXiv](https://arxiv.org/abs/1) and [above](#up).")
    assert "rows[0](left)" in page


def test_the_readme_has_no_relative_link_left(setup_py):
    targets = re.findall(r"\]\(([^)\s]+)\)", setup_py.readme())
    assert targets, "it links to the papers"
    assert all(target.startswith(("https://", "#")) for target in targets)
