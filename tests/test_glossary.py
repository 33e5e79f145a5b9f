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
    words = re.findall(r"^\| ([^|]+) \| [^|]+\. \|$|$", GLOSSARY.read_text(), re.MULTILINE)
    words = [word for word in words if word]
    assert len(words) == len(set(words)) == GLOSSARY.read_text().count("\n| ") - 1
    assert set(words) >= {*STAGE_NAMES, *KINDS.own, *get_args(Form), *get_args(Estimator)}
