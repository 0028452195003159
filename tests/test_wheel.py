"""The wheel: what is in it, and that it works in an environment where the clone is not to be seen."""

import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tiny_pictures import png, smooth

import vnca_jax
from vnca_jax import data, parallel, pretrained_models
from vnca_jax import eval as evaluation

ROOT = Path(__file__).parent.parent
SETUPTOOLS = 77  # the first that reads a licence expression
MODEL = "mnist_doubling_small"
PROGRAM = """
import importlib.util, json, sys, vnca_jax
from vnca_jax import pretrained_models
model = vnca_jax.pretrained(sys.argv[1])
print(json.dumps({
    "file": vnca_jax.__file__, "names": pretrained_models.names(), "latent": model.latent_size,
    "others": [name for name in ("experiments", "benchmarks", "kaggle") if importlib.util.find_spec(name)],
}))
"""


def test_project_file():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {".".join(path.relative_to(ROOT).parent.parts) for path in ROOT.glob("vnca_jax/**/__init__.py")}
    assert set(project["tool"]["setuptools"]["packages"]) == packages | {"vnca_jax.pretrained"}
    assert project["project"]["urls"]["Paper"] == "https://arxiv.org/abs/2201.12360"
    assert f"version: {vnca_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources, so that nothing is left in the clone."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("vnca_jax", "pretrained", "experiments"):
        for path in sorted((ROOT / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                target = folder / "source" / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    here = int(importlib.metadata.version("setuptools").partition(".")[0]) >= SETUPTOOLS if _has_setuptools() else False
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    isolation = ["--no-build-isolation"] if here else []
    built = subprocess.run([*command, *isolation, str(folder / "source")], capture_output=True, text=True, check=False)
    if built.returncode and not here:
        pytest.skip(f"setuptools >= {SETUPTOOLS} is not installed and pip cannot fetch it: {built.stderr[-500:]}")
    assert built.returncode == 0, built.stderr
    [path] = folder.glob("*.whl")
    return path


def _has_setuptools() -> bool:
    try:
        return bool(importlib.metadata.version("setuptools"))
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.mark.slow
def test_what_is_in_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"vnca_jax", f"vnca_jax-{vnca_jax.__version__}.dist-info"}
    sources = {str(path.relative_to(ROOT)) for path in ROOT.glob("vnca_jax/**/*.py")}
    models = {
        f"vnca_jax/pretrained/{name}/{file}"
        for name in pretrained_models.names()
        for file in ("model.eqx", "results.json")
    }
    inside = {name for name in names if name.startswith("vnca_jax/")}
    assert inside == sources | models | {"vnca_jax/pretrained/checksums.json", "vnca_jax/py.typed"}
    digest = zipfile.ZipFile(wheel).read(f"vnca_jax/pretrained/{MODEL}/model.eqx")
    assert digest == (pretrained_models.FOLDER / MODEL / "model.eqx").read_bytes()


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """An environment that holds the wheel alone, and sees the packages of the running one behind it.

    They come as a plain folder, whose own .pth files are not read, so that an editable clone there stays out.
    """
    folder = tmp_path_factory.mktemp("installed") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True)
    [own] = folder.glob("lib/python*/site-packages")
    (own / "running.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(environment: Path, *command: str) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [str(environment / "bin" / command[0]), *command[1:]],
        cwd=environment,
        env=variables | {"COLUMNS": "100", "JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_installed(environment):
    found = json.loads(run(environment, "python", "-c", PROGRAM, MODEL))
    assert Path(found["file"]).is_relative_to(environment) and found["others"] == []
    assert found["names"] == pretrained_models.names() and found["latent"] == vnca_jax.pretrained(MODEL).latent_size
    for said in (run(environment, "vnca", "--help"), run(environment, "python", "-m", "vnca_jax")):
        assert "vnca_jax.eval" in said and "Also `vnca eval`." in said
        assert "Experiments:" not in said and "Benchmarks:" not in said and "experiments.mnist" not in said
    assert "--ckpt" in run(environment, "vnca", "eval", "--help")


@pytest.mark.slow
def test_one_evaluation(environment, tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(png(smooth(i, 32, 32, 1)[..., 0]))
    flags = ("--dataset", "folder_binary", "--data-dir", str(tmp_path), "--num-samples", "2")
    command = ("vnca", "eval", "--ckpt", f"pretrained:{MODEL}", *flags, "--json", str(tmp_path / "found.json"))
    said = run(environment, *command)
    found = json.loads((tmp_path / "found.json").read_text())
    images = np.array(data.load("folder_binary", size=32, data_dir=tmp_path).test)
    model, mesh = vnca_jax.pretrained(MODEL), parallel.make_mesh(1)
    expected = evaluation.evaluate(model, images, num_samples=2, seed=0, mesh=mesh)
    for name, (mean, error) in expected.terms.items():
        np.testing.assert_allclose(found["terms"][name]["nats"], (mean, error), rtol=1e-5, err_msg=name)
    assert "DoublingVNCA of pretrained:mnist_doubling_small" in said
