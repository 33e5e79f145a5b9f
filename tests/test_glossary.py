"""Every name that a user meets is in the glossary."""

import re
from pathlib import Path
from typing import get_args

from depthopt.importance.estimate import Estimator
from depthopt.kinds.registry import KINDS
from depthopt.pipeline.run import STAGE_NAMES
from depthopt.rewrite.options import Form

GLOSSARY = Path(__file__).parents[1] / "docs" / "glossary.md"


def test_the_glossary_has_every_stage_kind_form_and_estimator_once() -> None:
    page = GLOSSARY.read_text().replace("| word | what it is |\n", "")
    words = re.findall(r"^\| ([^|]+) \| [^|]+\. \|$|$", page, re.MULTILINE)
    words = [word for word in words if word]
    assert len(words) == len(set(words)) == page.count("\n| ")
    assert set(words) >= {*STAGE_NAMES, *KINDS.own, *get_args(Form), *get_args(Estimator)}
