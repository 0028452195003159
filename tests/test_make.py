"""`make PYTHON=...`: an environment of another version is set up anew, one of the same version is kept."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize(("version", "anew"), [(sys.version_info[:2], False), ((3, 99), True)])
def test_another_python(tmp_path, version, anew):
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho "{version}"\n')
    python.chmod(0o755)
    (tmp_path / "installed").touch()
    command = ["make", "--dry-run", "demo", f"PYTHON={sys.executable}", f"VENV={tmp_path}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (f"{sys.executable} -m venv --clear {tmp_path}" in said) == anew
    assert f"{python} -m experiments.mnist_doubling --preset cpu" in said


@pytest.mark.parametrize(("python", "jax"), [("3.11", "0.10.2"), ("3.12", "0.12.0.1"), ("3.13", "0.12.0.1")])
def test_the_tested_version_of_jax_for_each_python(python, jax):
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    wanted = [Requirement(line) for line in lines if Requirement(line).name == "jax"]
    [chosen] = [one for one in wanted if one.marker and one.marker.evaluate({"python_version": python})]
    assert str(chosen.specifier) == f"=={jax}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in (project["dependencies"][0], *extras["tpu"], *extras["cuda"]):
        assert Requirement(text).name == "jax" and Requirement(text).specifier.contains(jax)
    assert f'"{python}"' in (ROOT / ".github/workflows/ci.yml").read_text()
