"""README and docs are written in short sentences."""

from statistics import mean

import pytest

from tests.docs.sentences import AVERAGE, LONGEST, ROOT, pages, sentences


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_is_long(page):
    long = [f"{s.line}: {s.words} words: {s.text}" for s in sentences(page) if s.words > LONGEST]
    assert not long


def test_the_average_sentence_is_short():
    assert mean(s.words for page in pages() for s in sentences(page)) <= AVERAGE


def test_the_readme_is_of_two_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 80


def test_what_a_sentence_is(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading is left out\n\nOne two `a b c`. Three [four five](six) seven!\n\n"
        "- eight\n- nine\n  ten\n\n```bash\nleft out\n```\n\n| left | out |\n\n    left out\n"
    )
    assert [s.words for s in sentences(page)] == [3, 4, 1, 2]
