"""A small program of each model, compiled by a TPU's own compiler where there is no TPU; and the table of that."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import tpu
from benchmarks.tpu import Row

ROOT = Path(__file__).parent.parent
FOLDER = Path(sys.prefix) / "libtpu"  # where `make test-slow` puts it, apart, so that no other test meets it


@pytest.fixture(scope="module")
def compiled():
    if importlib.util.find_spec("libtpu") is None and not FOLDER.is_dir():
        pytest.skip("the TPU's compiler is not installed: pip install '.[tpu-compile]'")
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(FOLDER)])
    ended = subprocess.run(
        [sys.executable, "tests/compiled_for_tpu.py"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


MODELS = ("doubling", "nondoubling", "baseline")


@pytest.mark.slow
def test_compiled_for_a_tpu(compiled):
    """Eight cores with a v5e's settings: nothing in float64, nothing that asks the host; all of it in dots."""
    assert compiled["cores"] == 8
    settings = compiled["settings"]
    assert (settings["dtype"], settings["formulation"], settings["recompute"]) == ("float32", "shifted", True)
    for name in MODELS:
        assert (compiled[name]["float64"], compiled[name]["callbacks"]) == (0, 0)
        assert compiled[name]["convolutions"] > 10


@pytest.mark.slow
def test_the_pool_stays_where_it_is(compiled):
    """The batch's 256 new states are gathered, never the pool's 1,024; other models gather nothing."""
    assert max(compiled["nondoubling"]["gathered"]) == 256
    assert compiled["doubling"]["gathered"] == compiled["baseline"]["gathered"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_memory_is_as_planned(compiled, name):
    """Temporary arrays take at most twice what the plan counts for the gradient, and less than 2 MiB besides. The
    compiler keeps cells as bfloat16 where only dots read them, and what fits the fast memory is not counted.
    """
    found = compiled[name]
    assert found["temporary_bytes"] < 2 * found["planned_bytes"] + (2 << 20)
    assert found["temporary_bytes"] < found["peak_bytes"]
    if name == "nondoubling":
        assert found["temporary_bytes"] > found["planned_bytes"] / 3 > 50 << 20


ROWS = [
    Row("mnist_doubling", "v5e:2x4", "update", "float32, shifted", 60.4, 1 << 30, 9e6, 6.0, 0.25, 46e6),
    Row("mnist_doubling", "v3:2x2", "update", "bfloat16, lax", 30, 1 << 29, 9.4e6, 10.0, 0.5, 46e6),
    Row("mnist_doubling", "v5e:2x4", "bound", "float32, shifted", 30, 1 << 27, 45e9, 30_000.0),
]


def test_document():
    """A table for each topology, hours of 100,000 updates, the bound in seconds, and the settings of each kind."""
    text = tpu.render(ROWS)
    assert "| mnist_doubling | 60 | 1.00 | 9.00 | 6.00 | 25% | 46 | 0.17 | 6 |" in text
    assert "| mnist_doubling | 30 | 0.50 | 9.40 | 10.00 | 50% | 46 | 0.28 | 13 |" in text
    assert "| mnist_doubling | IWELBO of all test images | TPU v5e-8 | 30 | 0.12 | 30.00 |" in text
    assert "TPU v5e: float32, shifted; TPU v3: bfloat16, lax" in text and "{" not in text


def test_rows_that_are_known_are_kept(tmp_path, capsys, monkeypatch):
    """Nothing is compiled again, and what is compiled comes on top."""
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([dataclasses.asdict(row) for row in ROWS]))
    made = dataclasses.replace(ROWS[0], topology="v5e:4x8")
    asked = []

    def measure(*one):
        asked.append((one[0], one[1].name, one[2]))
        return made, "", []

    monkeypatch.setattr(tpu, "measure", measure)
    tpu.main(tpu.Options(experiments=("mnist_doubling",), programs=("update", "bound"), json=path))
    assert asked == [("mnist_doubling", "v5e:4x8", "update")]
    assert [Row(**row) for row in json.loads(path.read_text())] == [*ROWS, made]
    assert "TPU v5e-32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--experiments", "mnist"], "error: --experiments has 'mnist', but must be among mnist_doubling, "),
        (["--topologies", "v9"], "error: --topologies has 'v9', but must be among v5e:2x4, v3:2x2, v5e:4x8."),
        ([], "error: The TPU's compiler, libtpu, is not installed; install it: pip install '.[tpu-compile]'"),
    ],
)
def test_mistakes(arguments, sentence):
    """Also where libtpu is at hand: an empty module of that name has none."""
    code = f"import sys; sys.modules['libtpu'] = None; sys.argv[1:] = {arguments}; import runpy; "
    code += "runpy.run_module('benchmarks.tpu', run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and sentence in ended.stderr and "Traceback" not in ended.stderr
