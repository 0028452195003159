"""One process knows that it is alone, and finds out from its environment when it is not."""

import dataclasses
import http.server
import threading

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from vnca_jax import cluster, joining, parallel, private_jax, processes
from vnca_jax.errors import InputError

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[01-02]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
TPU_VARIABLES = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES", "TPU_SKIP_MDS_QUERY", "MEGASCALE_NUM_SLICES")


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch):
    """Neither SLURM, nor a TPU, nor JAX's variables."""
    for name in (*cluster.VARIABLES, *SLURM, *TPU_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(private_jax, "is_on_cloud_tpu", lambda: False)


def set_environment(monkeypatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_one_process_agrees_with_itself():
    with joining.joined(False):
        assert processes.is_first()
        value = (3, [True, None])
        assert processes.agree(value) is value
        assert processes.anywhere(True) is True and processes.anywhere(False) is False
        processes.meet()
    assert not processes.is_loss(jax.errors.JaxRuntimeError("UNAVAILABLE: Gloo all-reduce failed"))
    assert jax.distributed.is_initialized() is False


@pytest.mark.parametrize("said", ["UNAVAILABLE: Socket closed", "UNKNOWN: Gloo all-reduce failed: Connection closed"])
def test_what_says_that_another_process_is_gone(monkeypatch, said):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    gone = jax.errors.JaxRuntimeError(said)
    wrapped = ValueError("a checkpoint that could not be written")
    wrapped.__cause__ = gone
    assert processes.is_loss(gone) and processes.is_loss(wrapped)
    assert not processes.is_loss(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"))
    assert not processes.is_loss(ConnectionError(said)) and not processes.is_loss(None)


def test_nothing_tells_of_others():
    assert cluster.settings(asked=False) is None
    with pytest.raises(InputError) as error:
        cluster.settings(asked=True)
    assert str(error.value) == (
        "`distributed` needs JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID in the environment, because "
        "neither SLURM nor a TPU tells of several processes here: set them to host:port of the first process, to how "
        "many processes there are, and to this one's number from 0."
    )


def test_the_environment_tells(monkeypatch):
    set_environment(monkeypatch, **dict(zip(cluster.VARIABLES, ("[::1]:7", "3", "2"), strict=True)))
    expected = {"coordinator_address": "[::1]:7", "num_processes": 3, "process_id": 2}
    assert cluster.settings(asked=True) == expected | {"cluster_detection_method": "deactivate"}
    assert cluster.settings(asked=False) is None
    set_environment(monkeypatch, **SLURM)
    assert cluster.settings(asked=True) == expected | {"cluster_detection_method": "deactivate"}


@pytest.mark.parametrize(
    "values",
    [("host", "2", "0"), ("host:p", "2", "0"), ("host:1", "two", "0"), ("host:1", "2", "2"), ("a:1", "2", "-1")],
)
def test_an_environment_that_is_wrong(monkeypatch, values):
    set_environment(monkeypatch, **dict(zip(cluster.VARIABLES, values, strict=True)))
    with pytest.raises(InputError) as error:
        cluster.settings(asked=True)
    assert str(error.value) == (
        "The environment says JAX_COORDINATOR_ADDRESS={}, JAX_NUM_PROCESSES={}, JAX_PROCESS_ID={}, but must name a "
        "host and port, a number of processes, and this one's number, from 0 up to one less.".format(*values)
    )


@pytest.mark.parametrize(("tasks", "by_itself"), [("2", {}), ("1", None)])
def test_slurm_tells(monkeypatch, tasks, by_itself):
    set_environment(monkeypatch, **SLURM | {"SLURM_NTASKS": tasks})
    assert cluster.settings(asked=False) == by_itself
    assert cluster.settings(asked=True) == {}


@pytest.mark.parametrize(
    ("variables", "by_itself"),
    [
        ({"TPU_WORKER_HOSTNAMES": "a,b,c,d"}, {}),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": "2"}, {}),
        ({"TPU_PROCESS_ADDRESSES": "a:1,a:2", "TPU_WORKER_HOSTNAMES": "a"}, {}),
    ],
)
def test_a_tpu_tells(monkeypatch, variables, by_itself):
    set_environment(monkeypatch, **variables)
    assert cluster.settings(asked=False) is None  # there is no TPU here
    monkeypatch.setattr(private_jax, "is_on_cloud_tpu", lambda: True)
    assert cluster.settings(asked=False) == by_itself
    assert cluster.settings(asked=True) == {}


@pytest.mark.parametrize(("hosts", "by_itself"), [("10.0.0.1,10.0.0.2", {}), ("10.0.0.1", None)])
def test_a_tpu_slice_whose_hosts_only_its_metadata_server_knows(monkeypatch, hosts, by_itself):
    asked = []

    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Metadata-Flavor"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(hosts.encode())

        def log_message(self, format, *arguments):
            """Nothing."""

    monkeypatch.setattr(private_jax, "is_on_cloud_tpu", lambda: True)
    with http.server.HTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        set_environment(monkeypatch, GCE_METADATA_IP=f"127.0.0.1:{server.server_port}")
        assert cluster.settings(asked=False) == by_itself
        assert asked == [("/computeMetadata/v1/instance/attributes/worker-network-endpoints", "Google")]
        set_environment(monkeypatch, TPU_SKIP_MDS_QUERY="1")
        assert cluster.settings(asked=False) is None and len(asked) == 1
        monkeypatch.delenv("TPU_SKIP_MDS_QUERY")
        server.shutdown()
    assert cluster.settings(asked=False) is None  # no server, no others


@dataclasses.dataclass(frozen=True)
class Device:
    """All that a mesh asks of a device."""

    id: int
    process_index: int
    platform: str = "cpu"
    device_kind: str = "cpu"


def ids(mesh: Mesh) -> list[int]:
    return [device.id for device in mesh.devices]


def test_each_process_gives_as_many_devices(monkeypatch):
    """Numbers of devices need not be in the order of their processes, as on some TPU slices."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "devices", lambda: [Device(i, i % 2) for i in range(6)])
    assert ids(parallel.make_mesh()) == [0, 2, 4, 1, 3, 5]
    assert ids(parallel.make_mesh(4)) == [0, 2, 1, 3]
    with pytest.raises(InputError) as error:
        parallel.make_mesh(3)
    expected = "3 devices were asked for, but 2 processes must have equally many: ask for a multiple of 2."
    assert str(error.value) == expected


def test_one_process_has_all_parts():
    mesh = Mesh(np.array(jax.devices()), (parallel.AXIS,))
    assert parallel.own_part(3 * mesh.size, mesh) == slice(0, 3 * mesh.size)
    sharded = parallel.place(np.arange(2.0 * mesh.size), mesh, parallel.SHARDED)
    np.testing.assert_array_equal(parallel.fetch({"a": sharded})["a"], np.arange(2.0 * mesh.size))
