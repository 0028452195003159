"""The mesh and what it refuses; training on several devices is tested elsewhere, in a process that has them."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from vnca_jax import parallel
from vnca_jax.errors import InputError


def test_mesh():
    mesh = parallel.make_mesh()
    assert mesh.devices.tolist() == jax.devices()
    assert mesh.axis_names == (parallel.AXIS,)
    assert parallel.make_mesh(1).devices.tolist() == jax.devices()[:1]


@pytest.mark.parametrize("extra", [1, 7])
def test_too_many_devices(extra):
    seen, platform = jax.device_count(), jax.default_backend()
    with pytest.raises(InputError) as error:
        parallel.make_mesh(seen + extra)
    assert str(error.value) == (
        f"{seen + extra} devices were asked for, but JAX sees {seen} ({platform}); "
        "ask for at least one and no more than that."
    )


@pytest.mark.parametrize("number", [0, -2])
def test_no_device(number):
    with pytest.raises(
        InputError, match=f"^{number} devices were asked for, but JAX sees .*; ask for at least one and"
    ):
        parallel.make_mesh(number)


@pytest.mark.parametrize(("size", "num_devices"), [(0, 1), (-4, 1), (0, 4), (-4, 4), (2, 4), (6, 4)])
def test_not_divisible(size, num_devices):
    with pytest.raises(InputError) as error:
        parallel.check_divisible("batch_size", size, num_devices)
    assert str(error.value) == (
        f"`batch_size` is {size}, but must be a positive multiple of the number of devices, {num_devices}; "
        "change it or choose the number with `num_devices`."
    )


@pytest.mark.parametrize(("size", "num_devices"), [(1, 1), (7, 1), (4, 4), (12, 4)])
def test_divisible(size, num_devices):
    parallel.check_divisible("batch_size", size, num_devices)


def test_place():
    mesh = parallel.make_mesh(1)
    tree = {"a": np.arange(6).reshape(3, 2), "b": np.float32(1.5)}
    placed = parallel.place(tree, mesh)
    np.testing.assert_array_equal(placed["a"], tree["a"])
    assert placed["b"] == 1.5
    sharded = parallel.place(tree["a"], mesh, parallel.SHARDED)
    assert (placed["a"].sharding.spec, sharded.sharding.spec) == (parallel.REPLICATED, parallel.SHARDED)


@pytest.mark.parametrize(("variable", "value", "devices"), [("OTHER", "", None), ("JAX_NUM_CPU_DEVICES", "3", 3)])
def test_cores(variable, value, devices):
    """A power of two of devices, of the cores that the process may use, unless the user says otherwise."""
    script = "import jax; from vnca_jax import parallel; parallel.use_all_cores(); print(jax.local_device_count())"
    environment = {"PATH": os.environ["PATH"], "JAX_PLATFORMS": "cpu", variable: value}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    expected = devices or max(2**k for k in range(4) if 2**k <= parallel.allowed_cores())
    assert int(found.stdout) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not let a process choose its cores")
def test_allowed_cores_and_not_all():
    """As `taskset` and schedulers leave them."""
    core = min(os.sched_getaffinity(0))
    script = f"import os; os.sched_setaffinity(0, [{core}]); import jax; from vnca_jax import parallel; "
    script += "parallel.use_all_cores(); print(parallel.allowed_cores(), jax.local_device_count())"
    environment = {"PATH": os.environ["PATH"], "JAX_PLATFORMS": "cpu"}
    found = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "1 1\n"
