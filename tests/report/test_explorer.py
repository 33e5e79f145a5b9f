"""The slider's data: budgets that pick just their plan, and figures that add up."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthopt.core.candidate import Candidate
from depthopt.core.plan import Frontier, FrontierPoint
from depthopt.report.explorer import budgets, explorer
from depthopt.report.facts import segment_rows, validation_hint
from depthopt.report.page import report_page
from depthopt.report.reading import RunArtefacts, read_run
from depthopt.tables.latency import Footprint
from tests.report.run_folder import small_chain, write_run
from tests.report.test_page import shown


def test_every_budget_picks_its_own_plan(tmp_path: Path) -> None:
    frontier = write_run(tmp_path)
    assert len(frontier.points) > 5
    for index, text in enumerate(budgets(frontier)):
        assert frontier.pick(budget_ms=float(text)) == frontier.plan(index)


ONLY = Candidate(0, 1, "drop", ())


@given(st.lists(st.floats(1e-5, 1e4), min_size=1, max_size=20, unique=True))
def test_budgets_pick_their_plans_however_close_they_lie(latencies: list[float]) -> None:
    points = tuple(FrontierPoint(ms, float(-i), (0,)) for i, ms in enumerate(sorted(latencies)))
    texts = budgets(Frontier("net", (3, 8, 8), 1.0, (ONLY,), points))
    for i, text in enumerate(texts):
        assert [p for p in points if p.latency_ms <= float(text)][-1] is points[i]


def test_budgets_are_short() -> None:
    points = tuple(FrontierPoint(ms, -ms, (0,)) for ms in (0.1381234567, 0.21, 12.3456, 1234.5))
    texts = budgets(Frontier("net", (3, 8, 8), 1.0, (ONLY,), points))
    assert texts == ["0.139", "0.210", "12.4", "1235"]


NEARER = (Footprint(600, 0.75), Footprint(1000, 0.875), Footprint(9999, 1.5))


@pytest.mark.parametrize("footprints", [(), NEARER])
def test_segments_add_up_to_the_plans(tmp_path: Path, footprints: tuple[Footprint, ...]) -> None:
    frontier = write_run(tmp_path, footprints=footprints)
    found = explorer(read_run(tmp_path))
    assert found is not None
    assert sum(block.ms for block in found.blocks) + found.fixed_ms == pytest.approx(
        found.original_ms
    )
    for point in found.points:
        chosen = [found.replacements[i] for i in point.replaced]
        gone = {i for one in chosen for i in range(one.start, one.end)}
        kept = sum(block.ms for i, block in enumerate(found.blocks) if i not in gone)
        whole = kept + sum(one.ms for one in chosen) + found.fixed_ms
        assert whole * point.nearer == pytest.approx(point.ms)
    assert len({point.nearer for point in found.points}) == max(1, len(footprints))
    assert found.picked == len(frontier.points) // 2


@pytest.mark.parametrize("footprints", [(), NEARER])
def test_a_plans_rows_name_its_segments_and_add_up(
    tmp_path: Path, footprints: tuple[Footprint, ...]
) -> None:
    frontier = write_run(tmp_path, footprints=footprints)
    found = explorer(read_run(tmp_path))
    assert found is not None
    for index in range(len(frontier.points)):
        plan = frontier.plan(index)
        *rows, _, total = segment_rows(found, index)
        assert [row[0] for row in rows] == [
            str(c.start) if c.end == c.start + 1 else f"{c.start} to {c.end - 1}"
            for c in plan.choices
        ]
        assert total[4:] == (
            f"{plan.original_ms:.3f}", f"{plan.latency_ms:.3f}", f"{plan.cost:.4g}"
        )  # fmt: skip
        for column in (4, 5):
            parts = sum(float(row[column]) for row in segment_rows(found, index)[:-1])
            assert parts == pytest.approx(float(total[column]), abs=0.0005 * (len(rows) + 2))


def test_the_command_quotes_what_a_shell_would_read(tmp_path: Path) -> None:
    write_run(tmp_path / "a run")
    found = explorer(read_run(tmp_path / "a run"))
    assert found is not None
    folder = tmp_path / "a run"
    assert "0.35".join(found.another.parts) == (
        f"depthopt run '{folder}/recipe.yaml' --from '{folder}' --run-dir '{folder}'-0.35ms "
        "'budget={ms: 0.35}' pick=predicted"
    )
    words = shlex.split("0.35".join(found.another.parts))
    assert words[words.index("--run-dir") + 1] == f"{folder}-0.35ms"


def test_the_command_allows_the_code_that_the_user_named(tmp_path: Path) -> None:
    write_run(tmp_path, small_chain("my_model.py:build-0123456789ab"))
    found = explorer(read_run(tmp_path))
    assert found is not None
    command, *_ = found.another.parts
    assert command.startswith(f"depthopt run {tmp_path}/recipe.yaml --allow-code --from ")


def in_python(run: RunArtefacts) -> str:
    """How to make another plan, which must be Python."""
    found = explorer(run)
    assert found is not None
    assert found.another.in_python
    text = "0.35".join(found.another.parts)
    compile(text, "page", "exec")
    return text


def test_a_network_given_in_memory_has_python_and_no_command(tmp_path: Path) -> None:
    folder = tmp_path / "it's mine"
    write_run(folder, small_chain("memory:Tiny-0123456789ab"))
    run = read_run(folder)
    text = in_python(run)
    assert 'load_recipe(folder / "recipe.yaml", ["budget={ms: 0.35}", "pick=predicted"])' in text
    assert 'folder.with_name(folder.name + "-0.35ms")' in text
    assert text.endswith("run(recipe, new, start_from=folder, model=model)")
    assert "given_dataset" not in text
    assert f"folder = Path({str(folder)!r})" in text
    assert "depthopt profile" not in validation_hint(run)
    page = shown(report_page(run))
    assert "The Python that makes this plan" in page
    assert "Copy the Python" in page


def test_data_given_in_memory_have_python_too(tmp_path: Path) -> None:
    write_run(tmp_path, small_chain("my_model.py:build-0123456789ab"), data="memory:0123456789ab")
    text = in_python(read_run(tmp_path))
    given = "data=given_dataset(data, test, seed=recipe.seed), allow_code=True)"
    assert text.endswith(f"start_from=folder, {given}")
    assert "model=model" not in text
    write_run(tmp_path, small_chain("memory:Tiny-0123456789ab"), data="memory:0123456789ab")
    assert "start_from=folder, model=model, data=given_" in in_python(read_run(tmp_path))


def test_a_run_named_by_a_dot_has_its_new_ones_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    found = explorer(read_run(Path()))
    assert found is not None
    assert f"--run-dir {tmp_path}/run-0.35ms " in "0.35".join(found.another.parts)


def test_an_unfinished_run_has_none(tmp_path: Path) -> None:
    write_run(tmp_path)
    (tmp_path / "frontier.json").unlink()
    assert explorer(read_run(tmp_path)) is None
