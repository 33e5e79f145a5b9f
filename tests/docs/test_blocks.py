"""Every code block of README and docs runs, on tiny data; under ``-m slow`` as it is printed."""

import dataclasses
import itertools
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from depthopt.check import memory
from depthopt.latency import bench, measure, timing
from tests.docs import stand_ins
from tests.docs.blocks import ROOT, Block, PageError, blocks, named, pages
from tests.docs.running import Session, forget, run
from tests.docs.substitutions import ELSEWHERE

SEEDS = {
    "mine": (
        "bash",
        """
depthopt compress my_model.py:build --checkpoint mine.pth --data photos --speedup 1.5 \\
  --out runs/mine
""",
    ),
    "quickstart": (
        "bash",
        """
depthopt run quickstart
depthopt report runs/quickstart/  # the slash: where a page says this, no page is written again
""",
    ),
    "python": (
        "python",
        """
import depthopt
depthopt.compress(model, (train_set, test_set), speedup=1.5, run_dir="runs/mine")
""",
    ),
}
"""Runs that are made once, and that go on on every page that begins one."""

MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed for longer than a moment."""
    sampled = measure.sample_in_turn

    def hasty(*calls: object, effort: measure.Effort, **options: object) -> object:
        changes = {"seconds": 0.02, "warmup_s": 0.0, "burst_ms": 0.1, "tolerance": 1.0}
        short = dataclasses.replace(effort, min_rounds=3, max_rounds=5, **changes)
        return sampled(*calls, effort=short, **options)  # type: ignore[arg-type]

    for module in (bench, measure, timing):
        monkeypatch.setattr(module, "sample_in_turn", hasty)
    monkeypatch.setattr(bench, "_GRAPH_US", 50.0)
    monkeypatch.setattr(memory, "_in_a_process", lambda _: 1 << 20)  # each would load a runtime


def _files(make_once: MakeOnce) -> Path:
    return make_once("docs-files", stand_ins.write)


def _page_folder(folder: Path, make_once: MakeOnce) -> Path:
    """A folder with the stand-in files; as links, for a run's digests are of where they lead."""
    for path in _files(make_once).iterdir():
        if not path.name.startswith(".") and not (folder / path.name).exists():
            (folder / path.name).symlink_to(path)
    return folder


def _seeder(session: Session, make_once: MakeOnce) -> Callable[[str], None]:
    """What puts a finished run where a command is to write one, before it runs."""

    def fill(name: str) -> Callable[[Path], object]:
        def filled(folder: Path) -> None:
            _page_folder(folder, make_once)
            own = Session(folder, session.as_printed, stand_ins.in_python())
            run(Block(Path(name), 1, *SEEDS[name], None), own)

        return filled

    model = session.names.get("model")

    def seed(command: str) -> None:
        for place, name in _written(command):
            if not (session.folder / "my_model.py").is_symlink():
                continue  # the page has a network of its own
            if name == "python" and not _is_of(command, model, session):
                continue
            target = session.folder / place
            if not target.exists():
                made = make_once(f"docs-{name}{session.as_printed}", fill(name)) / "runs"
                shutil.copytree(next(made.iterdir()), target)

    return seed


def _is_of(text: str, model: object, session: Session) -> bool:
    """Whether Python's block compresses the stand-in, and not a network of its own."""
    given = re.findall(r"compress\(\s*(\w+)", text)
    return all(session.names.get(each) is model and f"{each} = " not in text for each in given)


def _written(command: str) -> list[tuple[str, str]]:
    """The run folders that a command, or a block of Python, begins, and the run that seeds each."""
    if not command.startswith("depthopt "):
        found = re.findall(r"""compress\([^)]*(?:\)[^)]*)?run_dir=["']([\w/-]+)["']""", command)
        return [(place, "python") for place in found]
    words = shlex.split(command)[1:]
    given = dict(itertools.pairwise(words))
    place = given.get("--out") or given.get("--run-dir")
    subject = words[1] if len(words) > 1 else ""
    if "--dry-run" in words or "--from" in words or subject.startswith("-"):
        return []
    if words[0] in {"compress", "explore"} and ":" in subject:
        model = re.sub(r"[^\w.-]+", "-", subject.replace(".py:", "-"))
        return [(place or f"runs/{model}-{Path(given['--data']).name}", "mine")]
    if words[0] in _OF_RECIPES and (subject == "quickstart" or subject.endswith(".yaml")):
        stem = Path(subject).stem
        return [(place or f"runs/{stem}", "quickstart" if stem == "quickstart" else "mine")]
    return []


_OF_RECIPES = {
    "run", "extract", "profile", "estimate", "solve", "apply", "finetune", "fuse", "export",
    "explore",
}  # fmt: skip


def run_page(page: Path, session: Session) -> None:
    found = blocks(page)
    try:
        for number, block in enumerate(found):
            later = "".join(each.text for each in found[number + 1 :])
            if block.file is not None and Path(block.file).stem not in later:
                raise PageError(page, block.line, f"nothing on the page uses {block.file}")
            run(block, session)
    finally:
        forget(session.folder)


def _session(page: Path, folder: Path, make_once: MakeOnce) -> Session:
    """Where a page's blocks run, with the files that they may need and do not make themselves."""
    session = Session(folder / "page")
    session.folder.mkdir()
    found = [b for b in blocks(page) if b.language in {"bash", "python"} and b.reason is None]
    if found and not any(block.file == "my_model.py" for block in found):
        _page_folder(session.folder, make_once)
        session.names = stand_ins.in_python()
    return session


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("page", pages(), ids=named)
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, make_once: MakeOnce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    if named(page) in ELSEWHERE:
        assert (ROOT / ELSEWHERE[named(page)]).exists()
        return
    session = _session(page, tmp_path, make_once)
    session.seed = _seeder(session, make_once)
    run_page(page, session)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(), ids=named)
def test_the_blocks_of_a_page_run_as_printed(
    page: Path, tmp_path: Path, make_once: MakeOnce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if named(page) in ELSEWHERE:
        return
    session = _session(page, tmp_path, make_once)
    session.as_printed = True
    seed = _seeder(session, make_once)

    def prepare(command: str) -> None:
        _weights_for(command, session.folder)
        seed(command)

    session.seed = prepare
    run_page(page, session)


def _weights_for(command: str, folder: Path) -> None:
    """``mine.pth`` is the weights of the network that a command names beside it."""
    if not (folder / "my_model.py").is_symlink():
        return  # the page makes its own
    network = re.search(r"torchvision:(\w+).* mine\.pth", command)
    (folder / "mine.pth").unlink(missing_ok=True)
    if network is None:
        files = (folder / "my_model.py").resolve().parent
        (folder / "mine.pth").symlink_to(files / "mine.pth")
    else:
        stand_ins.write_weights(folder / "mine.pth", network[1])


def test_how_many_blocks_run_and_how_many_are_marked(
    record_property: Callable[[str, object], None],
) -> None:
    found = [block for page in pages() for block in blocks(page) if block.language != "text"]
    marked = Counter(block.reason for block in found if block.reason is not None)
    run_ = Counter(block.language for block in found if block.reason is None)
    said = ", ".join(f"{count} {name}" for name, count in [*run_.items(), *marked.most_common()])
    record_property(
        "summary", f"{sum(run_.values())} of {len(found)} blocks of the docs run: {said}"
    )
    assert sum(run_.values()) > sum(marked.values())


# --- what is refused, with the page and the line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n```bash\ndepthopt run quickstart budget.spedup=2\n```\n", "page.md:3: .*spedup"),
        ("```bash\n# ok\ndepthopt run quickstart --dry\n```\n", "page.md:3: .*--dry"),
        ("```bash\ndepthopt runn quickstart\n```\n", "page.md:2: .*runn"),
        (
            "<!-- not run: needs a GPU -->\n```bash\ndepthopt run quickstart \\\n  --fast\n```\n",
            "page.md:3: .*--fast",
        ),
        (
            "<!-- not run: takes hours -->\n```bash\naccelerate launch -m depthopt run a sd=1\n```",
            "page.md:3: .*sd; did you mean seed",
        ),
        ("```yaml\nsolver:\n  mode: exactly\n```\n", "page.md:3: .*solver.mode"),
        ("```yaml\nlatency:\n  thread: 2\n```\n", "page.md:3: .*unknown key latency.thread"),
        ("```yaml\na: [\n```\n", "page.md:3: "),
        ("```python\nimport depthopt\n\ndepthopt.squeeze()\n```\n", "page.md:4: .*squeeze"),
        ("```python\nx = 1\nassert x == 2, x\n```\n", "page.md:3: AssertionError: 1"),
        ("```python\nx = (\n```\n", "page.md:2: "),
        ("```bash\ntest -f nothing\n```\n", "page.md:2: .*status 1"),
        ("```bash\npip install depthopt\n```\n", "page.md:2: .*mark it"),
        ("```bash\npytest tests/nothing.py\n```\n", "page.md:2: there is no tests/nothing.py"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_page_and_line(text: str, said: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(PageError, match=said):
        run_page(page, Session(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```console\n$ ls\n```\n", "page.md:1: language 'console'"),
        ("```\nls\n```\n", "page.md:1: a block without a language"),
        ("```text\nls\n", "page.md:1: this block has no end"),
        (
            "<!-- not run: needs a GPU -->\n\n```bash\nls\n```\n",
            "page.md:1: .*not on the line above",
        ),
        ("<!-- not run: no time -->\n```bash\nls\n```\n", "page.md:1: reason 'no time'"),
        ("<!-- not run -->\n```bash\nls\n```\n", "page.md:1: reason ''"),
        ("So:\n\n    depthopt run\n", "page.md:3: code is indented"),
    ],
)
def test_a_block_that_cannot_be_read_is_told(text: str, said: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(PageError, match=said):
        blocks(page)


def test_blocks_of_a_page_share_a_folder_and_names(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\ndepthopt recipes quickstart > mine.yaml  # a copy\nls | grep -q mine.yaml\n```\n"
        "1. An item:\n\n   ```python\n   from pathlib import Path\n\n"
        "   text = Path('mine.yaml').read_text()\n   ```\n```python\nassert 'digits' in text\n```\n"
        "```python\n# pieces/one.py\nONE = 1\n```\n```python\nfrom pieces.one import ONE\n```\n"
    )
    (tmp_path / "page").mkdir()
    session = Session(tmp_path / "page")
    run_page(page, session)
    assert session.names["ONE"] == 1
