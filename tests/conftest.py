"""Settings for all tests: nothing is promoted or broadcast silently, and no program is compiled twice."""

import os
import tempfile

CACHE = "JAX_COMPILATION_CACHE_DIR"
if CACHE not in os.environ:  # else the user, or the process that started this one, has chosen
    _folder = tempfile.TemporaryDirectory(prefix="vnca_jax_compiled_")  # goes with this process
    os.environ |= {CACHE: _folder.name, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3"}

import jax  # noqa: E402 (reads the environment)
import pytest  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_enable_x64", False)


@pytest.fixture
def only_here(tmp_path, monkeypatch):
    """Leaves no way to any data or cache but tmp_path."""
    from tiny_pictures import use_tmp_path_only

    use_tmp_path_only(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def jpegs():
    """The pictures of a tiny CelebA."""
    from tiny_celeba import make_jpegs

    return make_jpegs()


@pytest.fixture
def small_blocks(monkeypatch):
    """Caches of images are made four images at a time."""
    from vnca_jax.data import image_cache

    monkeypatch.setattr(image_cache, "BLOCK_IMAGES", 4)


@pytest.fixture(scope="session")
def decode():
    return jax.jit(lambda model, z: model.decode(z))
