"""JAX's variables and switches: what cannot work is one sentence, before anything is read or trained."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECK = "from vnca_jax import backend, errors\nwith errors.reported():\n    backend.check()\nprint('started')"
REFUSED = [
    ("JAX_ENABLE_X64", "1", "JAX_ENABLE_X64 is set, but the project computes in float32: unset it."),
    ("JAX_DEFAULT_PRNG_IMPL", "rbg", "JAX_DEFAULT_PRNG_IMPL is rbg, but only threefry2x32 gives the same numbers on "
     "any devices: unset it."),
    ("JAX_PLATFORMS", "cuda", "with JAX_PLATFORMS=cuda: choose what this machine has, or unset it."),
    ("JAX_PLATFORMS", "nonsense", "with JAX_PLATFORMS=nonsense: choose what this machine has, or unset it."),
    ("JAX_DEFAULT_MATMUL_PRECISION", "F16_F16_F32", "is not supported by dot_general on CPU) with "
     "JAX_DEFAULT_MATMUL_PRECISION=F16_F16_F32: choose what this machine has, or unset it."),
]  # fmt: skip


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=own | variables, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("name", "value", "sentence"), REFUSED, ids=lambda value: value[:30])
def test_what_cannot_work(name, value, sentence):
    ended = run("-c", CHECK, **{name: value})
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("error: ") and ended.stderr.endswith(f"{sentence}\n")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"), [("JAX_DEFAULT_MATMUL_PRECISION", "bfloat16"), ("JAX_DEBUG_NANS", "1"), ("JAX_PLATFORMS", "cpu")]
)
def test_what_works(name, value):
    assert run("-c", CHECK, **{name: value}).stdout == "started\n"


@pytest.mark.parametrize("module", ["vnca_jax", "vnca_jax.eval", "experiments.mnist_doubling"])
def test_a_variable_that_jax_does_not_take(module):
    ended = run("-m", module, "--help", JAX_NUM_CPU_DEVICES="abc")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        'error: JAX refuses a variable of the environment (Invalid value "abc" for JAX flag jax_num_cpu_devices): '
        "unset it, or set it to what JAX takes.\n"
    )


def test_in_a_library_it_is_an_input_error():
    ended = run("-c", "import vnca_jax", JAX_ENABLE_X64="maybe")
    assert ended.returncode == 1 and ended.stderr.splitlines()[-1].startswith("vnca_jax.errors.InputError: JAX refuses")


def test_commands_ask_before_they_read_anything(tmp_path):
    """The model's file, which would be blamed, is not even there."""
    for command in (
        ("-m", "vnca_jax.eval", "--ckpt", str(tmp_path / "nothing")),
        ("-m", "experiments.mnist_doubling", "--dataset", "folder", "--data-dir", str(tmp_path / "nothing")),
        ("-m", "experiments.latent_space", "--ckpt", str(tmp_path / "nothing")),
    ):
        ended = run(*command, JAX_PLATFORMS="cuda")
        assert ended.returncode == 2 and ended.stderr.startswith("error: JAX cannot compute here (")


NAN = """
import tempfile, pathlib, sys
sys.path.insert(0, "tests")
import tiny_training
tiny_training.fit_pooled(pathlib.Path(tempfile.mkdtemp()), 2)
"""


@pytest.mark.slow
def test_training_while_jax_looks_for_nans():
    ended = run("-c", NAN, JAX_DEBUG_NANS="1")
    assert ended.returncode == 0, ended.stderr


def test_no_command_imports_torch(tmp_path):
    """A torch that is broken, as it is where its libraries do not fit, is not even looked at."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')")
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for folder in ("vnca_jax", "experiments")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    program = f"import importlib, sys\nfor name in {names}:\n    importlib.import_module(name)\nassert 'torch' not in "
    ended = run("-c", f"{program}sys.modules", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
