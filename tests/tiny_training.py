"""A training run of milliseconds, which tests call or start as `python tests/tiny_training.py FOLDER NUM_UPDATES`."""

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from vnca_jax import parallel, train
from vnca_jax.errors import reported
from vnca_jax.losses import Loss, pool_loss
from vnca_jax.models import DoublingVNCA, NonDoublingVNCA
from vnca_jax.train import TrainConfig, TrainState, fit

ROOT = Path(__file__).parent.parent
BATCH = 8
IMAGES = np.random.default_rng(0).integers(2, size=(21, 8, 8, 1), dtype=np.uint8)  # no multiple of a batch


def loss(model, carry, batch, key):
    """Squared error of a linear autoencoder whose code has noise and, from update to update, a memory in each slot."""
    x = batch.images.reshape(len(batch.images), -1)
    noise = jax.vmap(lambda key: jr.normal(key, (3,)))(batch.keys(key))
    code = x @ model["weight"] + noise + carry
    errors = jnp.square(x - code @ model["weight"].T).sum(axis=1)
    return errors.mean(), (jax.lax.stop_gradient(0.9 * carry + 0.1 * code), {"memory": jnp.square(carry).mean()})


def stateless(apply: Any) -> Loss:
    """A loss that carries nothing."""
    return Loss(lambda model: None, apply)


def first_model() -> dict[str, Any]:
    return {"weight": jnp.asarray(np.random.default_rng(1).normal(size=(64, 3)) / 8, jnp.float32)}


def run(folder: Path, num_updates: int, *, num_devices: int = 1, seed: int = 0, loss=loss, **options) -> TrainState:
    """`fit` of the autoencoder, with a checkpoint after every device call; `options` of TrainConfig, or a `report`."""
    folder.mkdir(exist_ok=True)
    small: Any = {"num_updates": num_updates, "batch_size": BATCH, "learning_rate": 1e-2, "seed": seed}
    small["checkpoint_minutes"] = 0.0
    return fit(
        first_model(),
        Loss(lambda model: jnp.zeros((BATCH, 3)), loss),
        IMAGES,
        mesh=parallel.make_mesh(num_devices),
        directory=folder,
        report=options.pop("report", None),
        config=TrainConfig(**small | options),
    )


def numbers(state: TrainState) -> dict[str, np.ndarray]:
    """All that is in a state, keys as their words."""
    leaves, _ = jax.tree.flatten_with_path(state)
    return {
        jax.tree_util.keystr(path): np.asarray(
            jr.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        )
        for path, leaf in leaves
    }


def compile_once() -> Iterator[None]:
    """For a fixture: while it lasts, `fit` compiles the same updates only once, as it would in one run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("make_optimizer", "make_steps"):
            patch.setattr(train, name, functools.cache(getattr(train, name)))
        yield


def tiny_vnca(**sizes: Any) -> DoublingVNCA:
    """A doubling VNCA for 4x4 pixels or other `sizes`; all its parameters are NumPy's, which takes no compiler."""
    smallest = {"latent_size": 4, "hidden_size": 4, "num_doublings": 1, "steps_per_doubling": 2, "num_blocks": 0}
    return filled(DoublingVNCA, smallest | {"encoder_width": 4, "encoder_depth": 0} | sizes)


def tiny_nondoubling(**sizes: Any) -> NonDoublingVNCA:
    """A non-doubling VNCA for 4x4 pixels or other `sizes`, likewise."""
    smallest = {"image_size": 4, "latent_size": 4, "hidden_size": 4, "num_steps": 3, "min_steps": 2, "max_steps": 4}
    return filled(NonDoublingVNCA, smallest | {"encoder_width": 4, "encoder_depth": 0} | sizes)


def filled(model_type: Any, sizes: dict[str, Any]) -> Any:
    """A model of the class with small random numbers from NumPy."""
    skeleton = eqx.filter_eval_shape(model_type, **sizes, key=jr.key(0))
    random = np.random.default_rng(2)
    return jax.tree.map(lambda leaf: jnp.asarray(0.2 * random.normal(size=leaf.shape), jnp.float32), skeleton)


POOL_LOSS = pool_loss(size=32)


def fit_pooled(
    folder: Path, num_updates: int, *, num_devices: int = 1, report=None, loss=POOL_LOSS, **options
) -> TrainState:
    """`fit` of a non-doubling VNCA with a pool of 32 states and batches of 16; `options` of TrainConfig."""
    folder.mkdir(exist_ok=True)
    return fit(
        tiny_nondoubling(),
        loss,
        IMAGES[:, 2:6, 2:6],
        mesh=parallel.make_mesh(num_devices),
        directory=folder,
        report=report,
        config=TrainConfig(**{"num_updates": num_updates, "batch_size": 16, "learning_rate": 1e-2} | options),
    )


if __name__ == "__main__":
    train.SECONDS_PER_CALL = 0  # a device call, and so a checkpoint, for each update
    with reported():
        run(Path(sys.argv[1]), int(sys.argv[2]))
