"""The project's own workflow and the one to copy: what an exit code does to a job."""

import ast
import inspect
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import depthopt

ROOT = Path(__file__).parents[2]


def workflows():
    page = (ROOT / "docs" / "guides" / "latency-check.md").read_text()
    (copied,) = re.findall(r"```yaml\n(name: latency\n.*?)```", page, re.DOTALL)
    own = (ROOT / ".github" / "workflows" / "latency.yml").read_text()
    return {"own": yaml.safe_load(own), "copied": yaml.safe_load(copied)}


WORKFLOWS = workflows()


@pytest.mark.parametrize("name", WORKFLOWS)
@pytest.mark.parametrize(("code", "job"), [(0, 0), (1, 1), (2, 2), (3, 0)])
def test_a_job_fails_on_a_regression_and_on_bad_input_and_warns_of_doubt(name, code, job, tmp_path):
    (step,) = (s for s in _steps(name) if s.get("name") == "Check")
    (tmp_path / "depthopt").write_text(f'#!/bin/sh\necho "$@" > called\nexit {code}\n')
    (tmp_path / "depthopt").chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", "-e", "-c", step["run"]],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == job, done.stderr
    assert ("::warning::" in done.stdout) == (code == 3)
    assert (tmp_path / "called").read_text().startswith("check baseline.onnx ")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_and_keeps_the_junit_file_of_a_failed_check(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    last = _steps(name)[-1]
    assert last["if"] == "always()"
    assert f"--junit {last['with']['path']}" in _steps(name)[-2]["run"]


def test_both_codes_export_by_arguments_that_there_are():
    (step,) = (s for s in _steps("own") if "EXPORT" in s.get("env", {}))
    calls = [n for n in ast.walk(ast.parse(step["env"]["EXPORT"])) if isinstance(n, ast.Call)]
    (export,) = (n for n in calls if getattr(n.func, "attr", "") == "export_onnx")
    given = {word.arg: None for word in export.keywords}
    inspect.signature(depthopt.export_onnx).bind(*export.args, **given)


def _steps(name):
    return WORKFLOWS[name]["jobs"]["latency"]["steps"]
