"""The Kaggle notebooks: in step with their sources, fit to be pushed, and executed headless on eight CPU devices."""

import base64
import html
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ("train", "evaluate", "explore")
TINY = "--latent-size 4 --hidden-size 4 --steps-per-doubling 2 --num-blocks 1 --encoder-width 4 --encoder-depth 1 "
TINY += "--batch-size 8 --num-updates 4 --cooldown-updates 0 --report-every 2 --limit 6 --num-samples 4"


def loaded(name: str) -> ModuleType:
    """A file of kaggle/, which is no package: there is one of that name for Kaggle's own tool."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"kaggle/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_in_step_with_its_source(name):
    source = ROOT / f"kaggle/{name}/{name}.py"
    made = source.with_suffix(".ipynb").read_text()
    assert made == loaded("make_notebooks").notebook(source), "run `make notebooks`"
    notebook = nbformat.reads(made, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.source.strip() and not cell.outputs for cell in code)
    assert [cell.metadata.get("tags") for cell in code] == [["parameters"], *[None] * (len(code) - 1)]
    assert notebook.metadata.kernelspec.name == "python3" and "kaggle" not in notebook.metadata


def test_all_notebooks_find_the_project_in_the_same_way():
    sources = [nbformat.read(ROOT / f"kaggle/{name}/{name}.ipynb", as_version=4) for name in NOTEBOOKS]
    assert len({notebook.cells[3].source for notebook in sources}) == 1
    assert "session.install()" in sources[0].cells[3].source


def test_the_experiments_that_are_offered():
    text = nbformat.read(ROOT / "kaggle/train/train.ipynb", as_version=4).cells[0].source
    offered = [name for line in text.splitlines() if line.startswith("| `") for name in line.split("|")[1].split("`")]
    trained = [path.stem for path in (ROOT / "experiments").glob("*_*.py") if "run.fit(model," in path.read_text()]
    assert sorted(name for name in offered if name.strip(" ,")) == sorted(trained)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_metadata(name):
    """What `kaggle kernels push` asks for, and that the slug is the one that Kaggle makes of the title."""
    facts = json.loads((ROOT / f"kaggle/{name}/kernel-metadata.json").read_text())
    user, slug = facts["id"].split("/")
    assert (user, slug) == ("USERNAME", facts["title"].lower().replace(" ", "-")) and len(facts["title"]) >= 5
    assert (ROOT / "kaggle" / name / facts["code_file"]).name == f"{name}.ipynb"
    assert (ROOT / "kaggle" / name / facts["code_file"]).is_file()
    assert (facts["language"], facts["kernel_type"]) == ("python", "notebook")
    assert (facts["is_private"], facts["enable_internet"], facts["enable_gpu"]) == (True, True, False)
    assert facts["machine_shape"] == ("" if name == "explore" else "TpuV5E8")
    assert facts["enable_tpu"] == bool(facts["machine_shape"]) and "docker_image" not in facts
    assert facts["dataset_sources"] == ["USERNAME/vnca-jax"]
    assert facts["kernel_sources"] == (["USERNAME/vnca-train"] if name == "evaluate" else [])
    assert facts["competition_sources"] == facts["model_sources"] == []


# --- executed --------------------------------------------------------------------------------------------------------


class Machine:
    """A folder like /kaggle, to which the project is attached as a dataset."""

    def __init__(self, folder: Path):
        self.folder = folder
        project = folder / "input/datasets/somebody/vnca-jax"
        for name in ("vnca_jax", "experiments", "pretrained", "kaggle"):
            shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", project)

    def execute(self, name: str, working: str, **settings: str) -> tuple[Path, list[Any]]:
        """Runs a notebook as in a new session; returns its working folder and the outputs of its code cells."""
        notebook = nbformat.read(ROOT / f"kaggle/{name}/{name}.ipynb", as_version=4)
        scratch = self.folder / f"{working}-scratch"
        for folder in (scratch, self.folder / working):
            folder.mkdir()
        variables = {
            "VNCA_INPUT": str(self.folder / "input"),
            "VNCA_WORKING": str(self.folder / working),
            "TMPDIR": str(scratch),
            "IPYTHONDIR": str(scratch),
            "PYTHONPATH": "",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "COLUMNS": "200",
        }
        resources = {"metadata": {"path": str(self.folder / working)}}
        client = NotebookClient(notebook, kernel_name="python3", timeout=280, resources=resources)
        client.execute(env=os.environ | variables | {f"VNCA_{key}": value for key, value in settings.items()})
        outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
        assert {output.output_type for output in outputs} <= {"stream", "display_data"}  # no error, no leftovers
        return self.folder / working, outputs

    def attach(self, working: str, name: str) -> None:
        """The output of a session, whose hidden files Kaggle does not keep, as an input of the next."""
        target = self.folder / "input/notebooks/somebody" / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder / working, target, ignore=shutil.ignore_patterns(".*"))


def printed(outputs: list[Any]) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream")


def shown(outputs: list[Any], kind: str, folder: Path) -> list[Image.Image]:
    """The pictures of that media type in the outputs, each one of the files in `folder`, and of more than two greys."""
    files = {path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    data = [output.data[kind] for output in outputs if output.output_type == "display_data" and kind in output.data]
    contents = [base64.b64decode(text) for text in data]
    assert set(contents) <= files
    pictures: list[Image.Image] = [Image.open(io.BytesIO(content)) for content in contents]
    assert all(len(np.unique(np.asarray(picture.convert("L")))) > 2 for picture in pictures)
    return pictures


def report_in(outputs: list[Any]) -> str:
    """The page in the one frame that the cells show."""
    [shown] = [
        output.data["text/html"]
        for output in outputs
        if output.output_type == "display_data" and "text/html" in output.data
    ]
    [content] = re.findall(r'<iframe srcdoc="([^"]*)"', shown)
    return html.unescape(content)


def num_frames(animation: Image.Image) -> int:
    return getattr(animation, "n_frames", 1)


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Machine:
    return Machine(tmp_path_factory.mktemp("kaggle"))


TRAINED = {"EXPERIMENT": "mnist_doubling", "PRESET": "cpu", "NAME": "tiny", "FLAGS": TINY}


@pytest.fixture(scope="module")
def stopped(machine) -> tuple[Path, list[Any]]:
    session = machine.execute("train", "first", **TRAINED, MINUTES="0.00001")
    machine.attach("first", "vnca-train")
    return session


@pytest.fixture(scope="module")
def finished(machine, stopped) -> tuple[Path, list[Any]]:
    session = machine.execute("train", "second", **TRAINED, MINUTES="60")
    machine.attach("second", "vnca-train")
    return session


def steps(working: Path) -> list[int]:
    lines = (working / "runs/mnist_doubling/tiny/metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


@pytest.mark.slow
def test_training_stops_when_its_time_is_up(stopped):
    working, outputs = stopped
    assert steps(working) == [1]
    assert not (working / "runs/mnist_doubling/tiny/results.json").exists()
    said = printed(outputs)
    assert "tiny starts at the beginning." in said and "Stopped at update 1, which is saved" in said
    assert "on 8 x cpu" in said and "Not finished: attach the output of this version" in said
    assert len(shown(outputs, "image/png", working)) == 1  # the curve; nothing is reported yet
    assert report_in(outputs) == (working / "runs/mnist_doubling/tiny/report.html").read_text()


@pytest.mark.slow
def test_training_goes_on_from_the_attached_output(finished):
    working, outputs = finished
    run = working / "runs/mnist_doubling/tiny"
    assert steps(working) == [1, 2, 3, 4]
    results = json.loads((run / "results.json").read_text())
    assert (results["updates"], results["evaluation"]["num_devices"]) == (4, 8)
    said = printed(outputs)
    assert f"{run} goes on at update 1, from " in said and f"Finished. All numbers are in {run}/results.json" in said
    assert len(shown(outputs, "image/png", run / "figures")) == 5
    assert len(shown(outputs, "image/gif", run / "figures")) == 1
    mean, error = results["evaluation"]["terms"]["iwelbo"]["nats"]
    assert report_in(outputs) == (run / "report.html").read_text()
    assert f"<td>{mean:.2f} +- {error:.2f}</td>" in report_in(outputs)


@pytest.mark.slow
def test_evaluation_finds_the_run_and_agrees_with_it(machine, finished):
    working, outputs = machine.execute("evaluate", "third", FLAGS="--limit 6 --num-samples 4")
    results = json.loads((finished[0] / "runs/mnist_doubling/tiny/results.json").read_text())
    mean, error = results["evaluation"]["terms"]["iwelbo"]["nats"]
    said = printed(outputs)
    bounds, table = said.split("The paper's numbers and ours:")
    assert f"{mean:.2f} +- {error:.2f}" in next(line for line in bounds.splitlines() if line.startswith("IWELBO, K=4"))
    assert f"{mean:.2f} +- {error:.2f}" in " ".join(table.split()) and "pretrained/mnist_doubling_small" in table
    found = json.loads((working / "evaluation.json").read_text())
    np.testing.assert_allclose(found["terms"]["iwelbo"]["nats"], [mean, error], rtol=1e-5)
    assert found["ckpt"].endswith("notebooks/somebody/vnca-train/runs/mnist_doubling/tiny")
    assert len(shown(outputs, "image/png", working / "figures")) == 3
    assert len(shown(outputs, "image/gif", working / "figures")) == 1


@pytest.mark.slow
def test_exploring_the_models_that_come_with_the_project(machine):
    working, outputs = machine.execute("explore", "fourth")
    results = json.loads((ROOT / "pretrained" / "mnist_doubling_small" / "results.json").read_text())
    assert f"DoublingVNCA, {results['updates']:,} updates on binarized_mnist" in printed(outputs)
    assert len(shown(outputs, "image/png", working / "explore")) == 6
    growth, healing = shown(outputs, "image/gif", working / "explore")
    assert num_frames(growth) == 21  # a seed, and four steps before the first and after each of four doublings
    assert num_frames(healing) == 63  # the seed or a damage and 20 steps, three times


def test_a_session_without_the_project(tmp_path):
    """The cell that all notebooks share, where nothing is attached: one sentence."""
    source = nbformat.read(ROOT / "kaggle/train/train.ipynb", as_version=4)
    code = "\n".join(cell.source for cell in source.cells[1:4] if cell.cell_type == "code")
    variables = os.environ | {"VNCA_INPUT": str(tmp_path), "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1] == (
        "FileNotFoundError: Attach the project's files as a dataset, or give REPOSITORY above its git address."
    )
