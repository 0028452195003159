"""The house rules that a parser can check: who imports whom, how long files and functions are, one version."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import vnca_jax

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for folder in ("vnca_jax", "experiments", "benchmarks", "tests") for path in ROOT.glob(f"{folder}/**/*.py")
)

# A module of vnca_jax imports only from modules before it in this list.
ORDER = [
    "errors",
    "paths",
    "writing",
    "text_table",
    "backend",
    "figures",
    "private_jax",
    "cluster",
    "processes",
    "joining",
    "parallel",
    "cpu_cache",
    "compute",
    "gather",
    "winograd",
    "conv",
    "conv_transpose",
    "update_networks",
    "automaton",
    "likelihoods",
    "models",
    "remat",
    "bounds",
    "resilience",
    "pool",
    "schedules",
    "losses",
    "data",
    "compilation",
    "pretrained_models",
    "checkpoint",
    "run_directory",
    "events",
    "metrics",
    "step",
    "train",
    "eval",
    "onnx",
    "__main__",
]

# Folders or files that may import a package; for all others it is out of bounds.
ONLY_IN = {
    "matplotlib": ("vnca_jax/figures.py", "tests/test_figures.py"),
    "PIL": ("vnca_jax/figures.py", "vnca_jax/data/", "tests/"),
    "fontTools": ("vnca_jax/data/", "tests/"),
    "tensorflow_datasets": ("vnca_jax/data/", "tests/"),
    "torch": ("benchmarks/", "tests/reference/"),
    "tensorflow": (),
    "jax2onnx": ("vnca_jax/onnx.py", "tests/"),
    "onnx": ("vnca_jax/onnx.py", "tests/"),
    "onnxruntime": ("tests/",),
    "experiments": ("experiments/", "benchmarks/tpu_programs.py", "tests/"),
    "benchmarks": ("benchmarks/", "tests/"),
    "tests": ("tests/reference/",),
}


def imported(source: str, file: str) -> Iterator[str]:
    """Dotted names that `source`, at `file` from the root, imports, in functions too, relative ones resolved."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = file.split("/")[: -node.level] if node.level else []
            base = [*parents, *(node.module.split(".") if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def broken_rules(source: str, file: str) -> list[str]:
    """What `source` imports against ORDER and ONLY_IN, as sentences."""
    broken = []
    folder, name = file.split("/")[0], file.split("/")[1].removesuffix(".py")
    if folder == "vnca_jax" and name not in [*ORDER, "__init__"]:
        broken.append(f"{file} has no place in ORDER")
    for target in imported(source, file):
        package, _, rest = target.partition(".")
        module = rest.split(".")[0]
        if package in ONLY_IN and not file.startswith(ONLY_IN[package]):
            broken.append(f"{file} imports {package}")
        if package == folder == "vnca_jax" and name in ORDER and module != name:
            if module not in ORDER:
                broken.append(f"{file} imports {target}, which is no module of ORDER")
            elif ORDER.index(module) > ORDER.index(name):
                broken.append(f"{file} imports {module}, which comes after it")
    return broken


def too_long(source: str, file: str) -> list[str]:
    """What of `source` passes the length that asks to be two ideas, as sentences."""
    is_experiment = file.startswith("experiments/") and "\nPRESETS" in source
    lines, limit = source.count("\n"), 100 if is_experiment else 300
    found = [f"{file} has {lines} lines, more than {limit}"] if lines > limit else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            found += [f"{node.name} in {file} has {length} lines, more than 60"] if length > 60 else []
    return found


def test_sources():
    offenders = []
    for path in SOURCES:
        source, file = path.read_text(), path.relative_to(ROOT).as_posix()
        offenders += [*broken_rules(source, file), *too_long(source, file)]
    assert len(SOURCES) > 150 and offenders == []


def test_what_is_too_long():
    function = "def f():\n" + "    x = 1\n" * 60
    assert too_long(function, "vnca_jax/a.py") == ["f in vnca_jax/a.py has 61 lines, more than 60"]
    assert too_long("x = 1\n" * 301, "vnca_jax/a.py") == ["vnca_jax/a.py has 301 lines, more than 300"]
    assert too_long("\nPRESETS = {}\n" + "x = 1\n" * 99, "experiments/a_b.py") == [
        "experiments/a_b.py has 101 lines, more than 100"
    ]
    assert too_long("x = 1\n" * 300, "experiments/a_b.py") == []


@pytest.mark.parametrize(
    ("file", "line", "rules"),
    [
        ("vnca_jax/models.py", "from vnca_jax.automaton import run", []),
        ("vnca_jax/models.py", "from vnca_jax import automaton, conv", []),
        ("vnca_jax/models.py", "from .automaton import run", []),
        ("vnca_jax/models.py", "import jax, matplotlib_inline", []),
        ("vnca_jax/data/digits.py", "from .source import read", []),
        ("vnca_jax/data/digits.py", "from ..errors import InputError", []),
        ("vnca_jax/__init__.py", "from vnca_jax.train import fit", []),
        ("experiments/mnist_doubling.py", "from vnca_jax.train import fit\nfrom experiments.cli import run", []),
        ("vnca_jax/models.py", "from vnca_jax.train import fit", ["imports train, which comes after it"]),
        ("vnca_jax/models.py", "def f():\n    import vnca_jax.train", ["imports train, which comes after it"]),
        ("vnca_jax/models.py", "from . import automaton, eval", ["imports eval, which comes after it"]),
        ("vnca_jax/data/digits.py", "from ..train import fit", ["imports train, which comes after it"]),
        ("vnca_jax/models.py", "from vnca_jax import fit", ["imports vnca_jax.fit, which is no module of ORDER"]),
        ("vnca_jax/misc.py", "", ["has no place in ORDER"]),
        ("vnca_jax/eval.py", "import matplotlib.pyplot as plt", ["imports matplotlib"]),
        ("vnca_jax/eval.py", "from experiments.cli import run", ["imports experiments"]),
        ("vnca_jax/data/mnist.py", "import tensorflow", ["imports tensorflow"]),
        ("experiments/mnist_doubling.py", "import torch", ["imports torch"]),
    ],
)
def test_the_rules_catch_what_they_should(file, line, rules):
    assert broken_rules(line, file) == [f"{file} {rule}" for rule in rules]


def test_jax_s_own_modules_are_imported_where_they_are_used():
    """The package, with what several processes need of them, imports where JAX has renamed them."""
    program = "import sys; import jax, orbax.checkpoint; sys.modules['jax._src.clusters'] = None\n"
    program += "sys.modules['jax._src.distributed'] = None; sys.modules['jax._src.cloud_tpu_init'] = None\n"
    program += "import vnca_jax.losses, vnca_jax.pool, vnca_jax.bounds, vnca_jax.processes"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    users = [path.name for path in SOURCES if "jax._src" in path.read_text() and "tests" not in path.parts]
    assert users == ["private_jax.py"]


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert vnca_jax.__version__ == project["version"]
    versions = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == project["version"] and versions == sorted(set(versions), reverse=True)


def test_a_release_is_published_without_a_token():
    """A tag builds, tries and publishes the wheel; only the job that publishes may ask PyPI to trust it."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads the key `on` as true
    assert workflow["permissions"] == {"contents": "read"} and set(workflow["jobs"]) == {"build", "publish"}
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert "permissions" not in build and publish["permissions"] == {"id-token": "write"}
    assert publish["needs"] == "build" and publish["environment"]["name"] == "pypi"
    assert publish["steps"][-1] == {"uses": "pypa/gh-action-pypi-publish@release/v1"}
    run = "\n".join(step.get("run", "") for step in build["steps"])
    assert "python -m build" in run and "CHANGELOG.md" in run and "pretrained(" in run
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text()
