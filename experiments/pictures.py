"""From a model to the pictures that several experiments share; vnca_jax.figures draws the arrays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from experiments import curves
from experiments.run import Run
from vnca_jax import automaton, figures
from vnca_jax.eval import block_sizes
from vnca_jax.models import VAE, VNCA, NonDoublingVNCA

GIF_SAMPLES = 8
DAMAGED_SAMPLES = 8  # of a report


def reporter(run: Run, *, key: PRNGKeyArray) -> Callable[[int, Any], None]:
    """What `fit` calls at intervals: samples of the same z, reconstructions, and damage and healing of a non-doubling
    VNCA, to reports/.
    """

    def report(step, model):
        samples(run.directory / f"reports/{step:06d}-samples.png", model, 64, key=key)
        path = run.directory / f"reports/{step:06d}-reconstructions.png"
        reconstructions(path, model, run.dataset.some_test_images(32))
        if isinstance(model, NonDoublingVNCA):
            damage(run.directory / f"reports/{step:06d}-damage.png", model, key=key)

    return report


def trained(run: Run, model: VAE, *, key: PRNGKeyArray) -> None:
    """The pictures that every trained model has: the report's, averages of its samples, and the training curve."""
    reconstructions(run.figure("reconstructions.png"), model, run.dataset.some_test_images(32))
    samples(run.figure("samples.png"), model, 64, key=key)
    sample_means(run.figure("sample_means.png"), model, 64, key=key)
    training_curve(run.figure("training.png"), run.directory)


def reconstructions(path: Path, model: VAE, images: UInt8[np.ndarray, "n h w c"]) -> None:
    """Fig. 3, left: test images above E[x|z] at the mean of q(z|x)."""
    x = model.likelihood.from_levels(jnp.asarray(images))
    means = jax.jit(lambda model, x: model.likelihood.mean(decoded(model, model.encode(x)[0])))(model, x)
    figures.reconstructions(path, np.asarray(x), np.asarray(means))


def samples(path: Path, model: VAE, num_samples: int, *, key: PRNGKeyArray) -> None:
    """Fig. 3, right: x ~ p(x|z), z ~ p(z)."""
    z_key, x_key = jr.split(key)
    z = jr.normal(z_key, (num_samples, model.latent_size))
    draw = jax.jit(lambda model, z: model.likelihood.sample(decoded(model, z), key=x_key))
    figures.samples(path, np.asarray(draw(model, z)))


def sample_means(path: Path, model: VAE, num_samples: int, *, key: PRNGKeyArray) -> None:
    """E[x|z] of the same z as `samples`."""
    z_key, _ = jr.split(key)
    z = jr.normal(z_key, (num_samples, model.latent_size))
    figures.samples(path, np.asarray(jax.jit(lambda model, z: model.likelihood.mean(decoded(model, z)))(model, z)))


def decoded(model: VAE, z: Float[Array, "n latent"]) -> Float[Array, "n h w outputs"]:
    """The decoder's outputs, of as many z at once as suit the device."""
    at_once, _ = block_sizes(model, len(z), 1, 1)
    outputs = jax.lax.map(lambda some: model.decode(some), z.reshape(-1, at_once, z.shape[-1]))
    return outputs.reshape(len(z), *outputs.shape[2:])


def damage(path: Path, model: NonDoublingVNCA, *, key: PRNGKeyArray) -> None:
    """Fig. 9, left: E[x] of samples, of the same with the right half of their cells set to zero, and T steps later."""
    z_key, _ = jr.split(key)
    z = jr.normal(z_key, (DAMAGED_SAMPLES, model.latent_size))

    @jax.jit
    def rows(model, z):
        grown = model.steps(model.seed(z), model.num_steps)
        damaged = automaton.damage(grown, automaton.right_half(*grown.shape[-3:-1]))
        cells = (grown, damaged, model.steps(damaged, model.num_steps))
        return [model.likelihood.mean(model.outputs(each)) for each in cells]

    figures.rows(path, [np.asarray(row) for row in rows(model, z)])


def growth(sheet: Path, gif: Path, model: VNCA, *, key: PRNGKeyArray) -> None:
    """Fig. 4: E[x] of one growing sample, a row a doubling and a tile a step; several of them as an animation."""
    z = jr.normal(key, (GIF_SAMPLES, model.latent_size))
    grow = jax.jit(lambda model, z: [model.likelihood.mean(model.outputs(cells)) for cells in model.grow(z)])
    stages = [np.asarray(stage) for stage in grow(model, z)]
    figures.growth_sheet(sheet, [stage[:, 0] for stage in stages])
    figures.growth_gif(gif, stages)


def training_curve(path: Path, directory: Path) -> None:
    """The loss and its terms against updates, in nats, and the held-out ELBO where a run has taken it."""
    series, window = curves.training(directory)
    figures.curves(path, series, xlabel="update", ylabel=f"nats (mean of {window} updates)")
