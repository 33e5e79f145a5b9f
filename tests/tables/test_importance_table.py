"""What an importance table says of itself, and which tables' entries do not mix."""

import json
import re
from dataclasses import replace

import pytest

from depthopt.core import digests
from depthopt.core.artefacts import load_json, save_json
from depthopt.core.candidate import Candidate, kept_blocks
from depthopt.errors import ArtefactError
from depthopt.tables.importance import Importance, ImportanceTable
from tests.chains import chain_of

KEEP, KEPT_TOO = kept_blocks(chain_of(["relu", "relu"]))
DROP = Candidate(0, 2, "drop", ())
TABLE = ImportanceTable(
    "net",
    "finetune",
    50,
    {KEEP: Importance(0.02, metric_change=-2.0), DROP: Importance(0.5, metric_change=-50.0)},
    protocol="195 steps of 256, sgd 0.1, scored on 50",
    unit="points",
    form="expanded",
)


def test_a_table_with_entries_of_kept_blocks_is_read_as_it_was_written(tmp_path) -> None:
    save_json(TABLE, tmp_path / "i.json")
    assert load_json(ImportanceTable, tmp_path / "i.json") == TABLE


def test_a_table_of_an_earlier_version_says_nothing_of_how_it_came_about(tmp_path) -> None:
    path = tmp_path / "i.json"
    save_json(TABLE, path)
    content = json.loads(path.read_text())
    for later in ("protocol", "unit", "form", digests.KEY):
        del content[later]
    path.write_text(json.dumps(content))
    found = load_json(ImportanceTable, path)
    assert found == replace(TABLE, protocol="", unit="", form="")
    assert found.unlike(TABLE) is None, "it may be gone on from"
    assert found.change(DROP) == -0.5, "its changes are in points"


def test_an_unknown_unit_is_refused(tmp_path) -> None:
    path = tmp_path / "i.json"
    save_json(TABLE, path)
    content = json.loads(path.read_text()) | {"unit": "promille"}
    del content[digests.KEY]
    path.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match="unit"):
        load_json(ImportanceTable, path)


def test_a_change_is_a_fraction_whatever_its_unit() -> None:
    entries = {DROP: Importance(0.5, metric_change=-0.5)}
    shares = replace(TABLE, unit="fraction", entries=entries)
    assert TABLE.change(DROP) == shares.change(DROP) == -0.5
    assert TABLE.change(KEEP) == -0.02
    assert TABLE.change(KEPT_TOO) == 0.0, "kept as it is, and not measured"


@pytest.mark.parametrize(
    ("changed", "both"),
    [
        ({"model": "other"}, "of net by finetune on 50 images, expected other by finetune on 50"),
        ({"protocol": "8 steps"}, "of protocol '195 steps of 256.*, expected '8 steps'"),
        ({"protocol": ""}, "of protocol '195 steps of 256.*, expected one without a word for it"),
        ({"unit": "fraction"}, "of unit 'points', expected 'fraction'"),
        ({"form": "fused"}, "of form 'expanded', expected 'fused'"),
    ],
)
def test_unlike_tables_name_what_both_are(changed, both) -> None:
    assert TABLE.unlike(TABLE) is None
    assert re.fullmatch(both, TABLE.unlike(replace(TABLE, **changed)))
