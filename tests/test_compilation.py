"""The cache of compiled programs: a second process finds what the first one compiled, and the user's choice stands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vnca_jax import compilation

SCRIPT = """
import sys
import jax
from jax._src import monitoring
from vnca_jax.compilation import keep_compiled

seen = []
monitoring.register_event_listener(lambda event, **_: seen.append(event.rsplit("/")[-1]))
keep_compiled()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
print(float(jax.jit(lambda x: (x * 3 + 1).sum())(jax.numpy.arange(4.0))))
print(seen.count("cache_hits"), seen.count("cache_misses"))
"""


def run(**variables: str) -> tuple[float, int, int]:
    """The sum, and how many programs were found and not found."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-c", SCRIPT]
    found = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=True)
    assert found.stderr == ""
    value, hits, misses = found.stdout.split()
    return float(value), int(hits), int(misses)


def test_found_again(tmp_path):
    value, hits, misses = run(VNCA_CACHE_DIR=str(tmp_path))
    assert (value, hits) == (22.0, 0) and misses > 0
    assert run(VNCA_CACHE_DIR=str(tmp_path)) == (22.0, misses, 0)
    (folder,) = (tmp_path / "compiled").iterdir()
    assert len(list(folder.glob("*-cache"))) == misses


def test_the_user_s_folder_comes_first(tmp_path):
    run(VNCA_CACHE_DIR=str(tmp_path / "ours"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "theirs"))
    assert list((tmp_path / "theirs").glob("*-cache")) and not (tmp_path / "ours").exists()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux lists the CPU's features there")
def test_kinds_of_cpu(monkeypatch):
    """The same for all cores of a machine and from call to call; another one if a feature is missing."""
    ours = compilation._kind_of_cpu()
    assert ours == compilation._kind_of_cpu()
    text = Path("/proc/cpuinfo").read_text()
    monkeypatch.setattr(Path, "read_text", lambda self: text.replace(" sse2 ", " "))
    assert (compilation._kind_of_cpu() == ours) == (" sse2 " not in text)
