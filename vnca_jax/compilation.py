"""Compiled programs, kept on the disk, so that a run that is taken up again begins at once."""

import hashlib
import platform
from pathlib import Path

import jax

from vnca_jax.data.folders import is_writable, own_cache_folder


def keep_compiled() -> None:
    """Makes JAX keep programs that took a second or more to compile, and find them again in later processes.

    They go to the folder `compiled` of the cache ($VNCA_CACHE_DIR, else ~/.cache/vnca_jax), one for each kind of CPU,
    since a program may use instructions that another one lacks. Does nothing if $JAX_COMPILATION_CACHE_DIR names
    a folder, ours cannot be written, or there is no home folder.
    """
    if jax.config.jax_compilation_cache_dir or (cache := own_cache_folder()) is None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    if is_writable(folder := cache / "compiled" / _kind_of_cpu()):
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _kind_of_cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("flags", "Features"))} or lines)
    return f"{platform.machine()}-{hashlib.sha256(' '.join(features).encode()).hexdigest()[:8]}"
