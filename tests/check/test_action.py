"""The composite action's steps, in bash, with what GitHub would set; no GitHub."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from depthopt.check.requirements import NEEDED

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "latency"
STEPS = yaml.safe_load((ACTION / "action.yml").read_text())


class Runner:
    """A machine of GitHub's: a checkout with a main branch, and commands that only say so."""

    def __init__(self, folder: Path) -> None:
        self.work, self.temp = folder / "work", folder / "temp"
        bin_ = self.temp / "depthopt" / "bin"
        bin_.mkdir(parents=True)
        self.work.mkdir()
        self.called = folder / "called"
        self.stub(bin_ / "depthopt", 'exit "${CODE:-0}"')
        self.stub(folder / "bin" / "pip", "")
        self.stub(
            folder / "bin" / "python",
            f"case $* in *venv*) touch {bin_}/activate;; *-c*) echo 3.11.7;; esac",
        )
        self.folder = folder
        self.git("init", "-q", "-b", "main")

    def stub(self, path: Path, then: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/bash\necho "{path.name} $*" >> {self.called}\n{then}\n')
        path.chmod(0o755)

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
        subprocess.run(["git", *who, *words], cwd=self.work, check=True, capture_output=True)  # noqa: S607

    def write(self, name: str, text: str, *, commit: bool = False) -> None:
        (self.work / name).write_text(text)
        if commit:
            self.git("add", "-A")
            self.git("commit", "-q", "-m", name)

    def step(self, what: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", str(ACTION / "latency.sh"), what],
            cwd=self.work, capture_output=True, text=True, check=False,
            env={
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "RUNNER_TEMP": str(self.temp),
                "GITHUB_OUTPUT": str(self.folder / "output"),
                "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
                **inputs,
            },
        )  # fmt: skip

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    made = Runner(tmp_path)
    made.write("README", "a file", commit=True)
    return made


@pytest.mark.parametrize(
    ("code", "strict", "ends", "outcome"),
    [
        (0, "false", 0, "pass"),
        (1, "false", 1, "regression"),
        (2, "false", 2, ""),
        (3, "false", 0, "inconclusive"),
        (3, "true", 3, "inconclusive"),
    ],
)
def test_a_change_is_checked_against_main(runner, code, strict, ends, outcome) -> None:
    runner.write("m.onnx", "before", commit=True)
    runner.write("m.onnx", "after")
    done = runner.step(
        "check", MODEL="m.onnx", BASE="main", CODE=str(code), STRICT=strict, OPTIONS="--threads 2"
    )
    assert done.returncode == ends, done.stderr
    baseline = runner.temp / "baseline.onnx"
    assert baseline.read_text() == "before"
    called = f"depthopt check {baseline} m.onnx --tolerance 5% --junit {runner.temp}/latency.xml"
    assert runner.read("called") == f"{called} --threads 2\n"
    assert runner.read("output") == (f"outcome={outcome}\n" if outcome else "")
    assert ("::warning::" in done.stdout) == (code == 3 and strict == "false")


def test_where_there_is_no_file_on_main_yet_the_job_passes_and_says_so(runner) -> None:
    runner.write("m.onnx", "new")
    done = runner.step("check", MODEL="m.onnx", BASE="main")
    assert done.returncode == 0, done.stderr
    assert "::notice::there is no m.onnx on main yet" in done.stdout
    assert "there is no `m.onnx` on main yet" in runner.read("summary")
    assert runner.read("output") == "outcome=none\n"
    assert runner.read("called") == ""


def test_what_a_step_before_exported_and_what_was_recorded_are_taken(runner) -> None:
    runner.write("m.onnx", "after")
    runner.write("old.onnx", "before")
    runner.step("check", MODEL="m.onnx", BASELINE="old.onnx", DATA="digits", TOLERANCE="3%")
    assert runner.read("called").startswith("depthopt check old.onnx m.onnx --tolerance 3% --junit")
    assert runner.read("called").endswith("--data digits\n")
    runner.write("recorded.json", "{}", commit=True)
    (runner.work / "recorded.json").unlink()
    runner.step("check", MODEL="m.onnx", BASELINE="recorded.json", BASE="main")
    last = runner.read("called").splitlines()[-1]
    assert last.startswith(f"depthopt check --against {runner.temp}/baseline.json m.onnx ")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"MODEL": "none.onnx", "BASE": "main"}, "none.onnx is not in the workspace"),
        ({"MODEL": "README", "BASE": "origin/main"}, "give actions/checkout fetch-depth: 0"),
        ({"MODEL": "README"}, "name what to check against"),
    ],
)
def test_what_is_missing_is_an_error_that_says_what_to_do(runner, inputs, said) -> None:
    done = runner.step("check", **inputs)
    assert done.returncode == 2
    assert "::error::" in done.stdout
    assert said in done.stdout


def test_torch_is_installed_only_for_data_and_then_for_cpus(runner) -> None:
    assert runner.step("install").returncode == 0
    light = runner.read("called")
    assert f"pip install --quiet --no-deps {ROOT}\n" in light
    assert f"pip install --quiet --no-compile {' '.join(NEEDED)}\n" in light
    assert "pytorch" not in light
    assert runner.step("install", DATA="digits", PACKAGE="depthopt==0.2").returncode == 0
    full = runner.read("called").removeprefix(light).splitlines()[-1]
    assert "--extra-index-url https://download.pytorch.org/whl/cpu depthopt==0.2" in full


def test_the_cache_is_of_what_is_installed(runner) -> None:
    keys = set()
    for inputs in ({}, {}, {"DATA": "digits"}, {"PACKAGE": "depthopt==0.2"}):
        assert runner.step("prepare", **inputs).returncode == 0
        keys.add(runner.read("output").splitlines()[-1])
    assert len(keys) == 3
    assert all(re.match(r"key=depthopt-Linux-3.11.7-(light|full)-[0-9a-f]{16}$", k) for k in keys)
    assert f"venv={runner.temp}/depthopt" in runner.read("output")


def test_each_step_is_given_the_inputs_that_it_reads() -> None:
    script = (ACTION / "latency.sh").read_text()
    inputs = {name.upper() for name in STEPS["inputs"]} - {"PYTHON-VERSION"}
    steps = {step["run"].split()[-1]: step for step in STEPS["runs"]["steps"] if "run" in step}
    assert set(steps) == {"prepare", "install", "check"}
    assert inputs == {name for step in steps.values() for name in step["env"]}
    assert all(f"${{{name}" in script or f"${name}" in script for name in inputs)
    assert all(step["shell"] == "bash" for step in steps.values())
    assert "key: ${{ steps.prepare.outputs.key }}" in (ACTION / "action.yml").read_text()
