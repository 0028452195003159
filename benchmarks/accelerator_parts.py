"""What a training step and a bound consist of, each part a function of arrays that can be timed and counted alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from benchmarks.flops import count_flops, count_traffic
from benchmarks.hardware import UPDATE_BYTES
from vnca_jax import bounds
from vnca_jax.models import ConvVAE, DoublingVNCA, NonDoublingVNCA
from vnca_jax.step import make_optimizer

LEARNING_RATE = 1e-4
SEED = 0


@dataclass(frozen=True)
class Part:
    """A function of arrays; `num_bytes` where it has no dots and convolutions, whose operands are counted else."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    num_bytes: float | None = None

    @property
    def flops(self) -> float:
        """FLOPs of its dots and convolutions."""
        return count_flops(self.function, *self.arguments)

    @property
    def traffic(self) -> float:
        """Bytes that it must read and write if nothing stays in a cache."""
        return count_traffic(self.function, *self.arguments) if self.num_bytes is None else self.num_bytes


def forward_and_backward(name: str, function: Callable[..., Any], model: Any, x: Any) -> Part:
    """`function(model, x)` and the gradients of a random weighting of what it gives, with respect to both."""
    shapes = jax.eval_shape(function, model, x)
    leaves, structure = jax.tree.flatten(shapes)
    weights = [jr.normal(jr.fold_in(jr.key(SEED), i), leaf.shape) for i, leaf in enumerate(leaves)]

    def both(model, x, weights):
        y, gradients = jax.vjp(function, model, x)
        return y, gradients(weights)

    return Part(name, both, (model, x, jax.tree.unflatten(structure, weights)))


def update_part(model: Any) -> Part:
    """Clipping and Adam."""
    optimizer = make_optimizer(LEARNING_RATE)

    def update(model, state, gradient):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state, model)
        return optax.apply_updates(model, updates), state

    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(model))
    return Part("clip and Adam", update, (model, optimizer.init(model), model), UPDATE_BYTES * num_parameters)


def encoder_part(model: Any, x: Any) -> Part:
    """q(z|x)."""
    return forward_and_backward("encoder", lambda model, x: model.encode(x), model, x)


def likelihood_part(model: Any, x: Any) -> Part:
    """log p(x|z) from its parameters; it reads these and the image, and writes the parameters' gradient."""
    shape = (*x.shape[:-1], model.likelihood.num_outputs(x.shape[-1]))
    parameters = jr.normal(jr.key(SEED), shape)
    both = forward_and_backward("likelihood", lambda p, x: model.likelihood.log_prob(p, x), parameters, x)
    return Part(both.name, both.function, both.arguments, 4.0 * (2 * parameters.size + x.size))


def parts_of_step(model: Any, batch_size: int) -> list[Part]:
    """The parts of a training step of `batch_size` images, the automaton's by grid."""
    key = jr.key(SEED)
    x = _images(model, batch_size)
    z = jr.normal(key, (batch_size, model.latent_size))
    decoder: list[Part] = []
    if isinstance(model, DoublingVNCA):
        for k in range(model.num_stages):
            side = 2 if k == 0 else 2**k
            cells = jr.normal(key, (batch_size, side, side, model.latent_size))
            name = f"{model.sizes.steps_per_doubling} steps, {2 ** (k + 1)}x{2 ** (k + 1)}"
            decoder.append(forward_and_backward(name, lambda model, cells, k=k: model.stage(k, cells), model, cells))
    elif isinstance(model, NonDoublingVNCA):
        name = f"{model.num_steps} steps, {model.image_size}x{model.image_size}"
        decoder.append(forward_and_backward(name, lambda model, z: model.decode(z), model, z))
    elif isinstance(model, ConvVAE):
        decoder.append(forward_and_backward("decoder", lambda model, z: model.decode(z), model, z))
    return [encoder_part(model, x), *decoder, likelihood_part(model, x), update_part(model)]


def bound_part(model: Any, num_images: int, num_samples: int, at_once: int) -> Part:
    """The IWELBO of so many images."""
    x = _images(model, num_images)

    def bound(model, x):
        def noise(k):
            return jr.normal(jr.fold_in(jr.key(SEED), k), (num_images, model.latent_size))

        return bounds.iwelbo(model, x, noise, num_samples=num_samples, chunk_size=at_once).iwelbo

    return Part(f"IWELBO, {num_images} images, K = {num_samples}", bound, (model, x))


def _images(model, num_images):
    shape = (num_images, model.image_size, model.image_size, model.image_channels)
    return jr.bernoulli(jr.key(SEED), 0.3, shape).astype(jnp.float32)
