"""Whether this is one of several processes, and how they find each other: by the environment, SLURM or a TPU slice."""

import contextlib
import os
import re
import urllib.request
from typing import Any

from vnca_jax import private_jax
from vnca_jax.errors import InputError

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
METADATA = "http://{}/computeMetadata/v1/instance/attributes/worker-network-endpoints"


def settings(asked: bool) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` is told: nothing where JAX knows by itself; None means a single process.

    Several processes are joined if `asked` for, or if SLURM has started them or a TPU slice has several hosts. Raises
    InputError if they are asked for where neither SLURM, nor a TPU, nor the environment tells of them.
    """
    values = [os.environ.get(name, "") for name in VARIABLES]
    if asked and all(values):
        address, count, number = values
        if not (re.fullmatch(r".+:\d+", address) and count.isdigit() and number.isdigit() and int(number) < int(count)):
            raise InputError(
                f"The environment says {_said(values)}, but must name a host and port, a number of processes, and this "
                "one's number, from 0 up to one less."
            )
        explicit = {"coordinator_address": address, "num_processes": int(count), "process_id": int(number)}
        return {**explicit, "cluster_detection_method": "deactivate"}
    size = _cluster_size()
    if size is not None and (asked or size > 1):
        return {}
    if asked:
        raise InputError(
            f"`distributed` needs {', '.join(VARIABLES[:2])} and {VARIABLES[2]} in the environment, because neither "
            "SLURM nor a TPU tells of several processes here: set them to host:port of the first process, to how many "
            "processes there are, and to this one's number from 0."
        )
    return None


def _said(values):
    return ", ".join(f"{name}={value}" for name, value in zip(VARIABLES, values, strict=True))


def _cluster_size() -> int | None:
    """How many processes SLURM has started, or hosts there are in a TPU slice; None where neither is there."""
    if (tasks := private_jax.num_slurm_tasks()) is not None:
        return tasks
    if not private_jax.is_on_cloud_tpu():
        return None
    hosts = os.environ.get("TPU_PROCESS_ADDRESSES") or os.environ.get("TPU_WORKER_HOSTNAMES")
    if hosts is None and "TPU_SKIP_MDS_QUERY" not in os.environ:
        address = METADATA.format(os.environ.get("GCE_METADATA_IP", "metadata.google.internal"))
        request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=3) as answer:
            hosts = answer.read().decode()
    return len(hosts.split(",")) * int(os.environ.get("MEGASCALE_NUM_SLICES") or 1) if hosts else None
