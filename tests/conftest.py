"""Settings for all tests: nothing is promoted or broadcast silently, and no program is compiled twice."""

import os
import tempfile

CACHE = "JAX_COMPILATION_CACHE_DIR"
if CACHE not in os.environ:  # else the user, or the process that started this one, has chosen
    _folder = tempfile.TemporaryDirectory(prefix="vnca_jax_compiled_")  # goes with this process
    os.environ |= {CACHE: _folder.name, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3"}

import jax  # noqa: E402 (reads the environment)

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_enable_x64", False)
