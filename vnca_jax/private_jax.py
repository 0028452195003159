"""What the project takes of JAX that JAX does not promise to keep: imported here alone, where it is used.

So a JAX that renames one of these breaks what needs it, runs of several processes, and nothing else.
"""

from typing import Any


def coordination_client() -> Any:
    """The client of the service that several processes meet at; None in a single process. Orbax takes the same."""
    from jax._src import distributed

    return distributed.global_state.client


def num_slurm_tasks() -> int | None:
    """How many tasks SLURM has started, as JAX counts them; None outside of SLURM."""
    from jax._src.clusters import SlurmCluster

    return SlurmCluster.get_process_count() if SlurmCluster.is_env_present() else None


def is_on_cloud_tpu() -> bool:
    """Whether JAX takes this host for one of a TPU of Google's cloud."""
    from jax._src import cloud_tpu_init

    return bool(cloud_tpu_init.running_in_cloud_tpu_vm)
