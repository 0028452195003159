"""Compiled programs, kept on the disk, so that a run that is taken up again begins at once."""

import hashlib
import platform
from pathlib import Path

import jax

from vnca_jax.data.folders import cache_folder, is_writable


def keep_compiled() -> None:
    """Makes JAX keep programs that took a second or more to compile, and find them again in later processes.

    They go to the folder `compiled` of the cache ($VNCA_CACHE_DIR, else ~/.cache/vnca_jax), one for each kind of CPU,
    since a program may use instructions that another one lacks. Does nothing if $JAX_COMPILATION_CACHE_DIR names
    a folder, or ours cannot be written.
    """
    folder = cache_folder(None) / "compiled" / _kind_of_cpu()
    if not jax.config.jax_compilation_cache_dir and is_writable(folder):  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _kind_of_cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("flags", "Features"))} or lines)
    return f"{platform.machine()}-{hashlib.sha256(' '.join(features).encode()).hexdigest()[:8]}"
