"""What the paper's presets run on a TPU, as programs that can be compiled where there is none: shapes, no arrays."""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jax.sharding import Mesh

from benchmarks.flops import count_flops
from benchmarks.step_counts import COUNTED, images_of, placed, step_of_shapes
from experiments import pictures
from experiments.losses import PoolConfig
from vnca_jax import eval as evaluation
from vnca_jax import losses, parallel
from vnca_jax.compute import Compute
from vnca_jax.models import ConvSizes, ConvVAE, DoublingSizes, DoublingVNCA, NonDoublingSizes, NonDoublingVNCA
from vnca_jax.train import MAX_STEPS_PER_CALL

MODELS = {DoublingSizes: DoublingVNCA, NonDoublingSizes: NonDoublingVNCA, ConvSizes: ConvVAE}
EXPERIMENTS = (
    *("mnist_doubling", "mnist_nondoubling", "mnist_baseline"),
    *("celeba_doubling", "celeba_nondoubling", "celeba_baseline", "emoji_doubling"),
)
# Test images, from which few batches of an evaluation are made; training images that a core holds.
NUM_TEST = {"binarized_mnist": 10_000, "celeba": 19_962, "emoji": 500}
NUM_TRAIN = {"binarized_mnist": 60_000, "celeba": 162_770, "emoji": 3_000}
NUM_SAMPLES = 64  # of a report's picture


class Program(NamedTuple):
    """A jitted function and the shapes and shardings of its arguments; loops whose number of turns is an argument turn
    `turns` times. It runs `times` times for what it is named for.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    turns: float = 1
    times: float = 1

    def compile(self) -> Any:
        """For the devices of its arguments."""
        lowered = self.function.lower(*self.arguments)  # pyright: ignore[reportFunctionMemberAccess]
        return lowered.compile()


def preset(experiment: str) -> Any:
    """The paper's settings of an experiment."""
    return importlib.import_module(f"experiments.{experiment}").PRESETS["paper"]


def model_of(config: Any, compute: Compute, **changes: Any) -> Any:
    """The model of a config, shapes in place of its parameters."""
    return eqx.filter_eval_shape(MODELS[type(config.model)], config.model, compute=compute, key=jr.key(0), **changes)


def mean_steps(config: Any) -> float:
    """The mean of T, which is drawn for each batch of a non-doubling VNCA; 1 for other models."""
    sizes = config.model
    return (sizes.min_steps + sizes.max_steps) / 2 if isinstance(sizes, NonDoublingSizes) else 1


def update(config: Any, mesh: Mesh, compute: Compute, *, num_images: int | None = None, **changes: Any) -> Program:
    """Up to 100 updates of training, as `fit` calls them, on the dataset or on so many images."""
    train, model = config.train, model_of(config, compute, **changes)
    loss, carry = losses.elbo_loss(beta=config.loss.beta), None
    if isinstance(config.loss, PoolConfig):
        loss = losses.pool_loss(**config.loss.of_loss)
        carry = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), loss.init(model))
    num_images = num_images or NUM_TRAIN[config.data.dataset]
    made = step_of_shapes(model, loss, carry, mesh, train, num_images=num_images, max_steps=MAX_STEPS_PER_CALL)
    return Program(*made, mean_steps(config))


def bound(config: Any, mesh: Mesh, compute: Compute) -> Program:
    """IWELBO of a batch of test images, as `evaluate` calls it; so often for all of them."""
    model, num_images = model_of(config, compute), NUM_TEST[config.data.dataset]
    num_samples = config.run.num_samples
    chunk_size, batch_size = evaluation.block_sizes(model, num_samples, num_images, mesh.size)
    function = evaluation.make_bound(model, jr.key(0), num_samples, chunk_size, mesh)
    images = placed((images_of(batch_size, model), np.arange(batch_size)), mesh, parallel.SHARDED)
    return Program(function, (placed(model, mesh), *images), times=-(-num_images // batch_size))


def samples(config: Any, mesh: Mesh, compute: Compute) -> Program:
    """The samples of a report, which one core draws."""
    model, one = model_of(config, compute), Mesh(mesh.devices.ravel()[:1], mesh.axis_names)

    def draw(model, z):
        return model.likelihood.sample(pictures.decoded(model, z), key=jr.key(0))

    z = jax.ShapeDtypeStruct((NUM_SAMPLES, model.latent_size), np.float32)
    return Program(jax.jit(draw), placed((model, z), one))


PROGRAMS = {"update": update, "bound": bound, "samples": samples}


def count(config: Any, num_devices: int) -> tuple[float, float]:
    """FLOPs of an update's dots and convolutions in one device, T at its mean, and the bytes that it receives.

    The gradient is averaged in float32, 2 (n - 1) / n x 4 bytes a parameter; of a batch, half of the states come from
    the pool and all go back, (n - 1) / n x 3/2 x their bytes (docs/scaling.md).
    """
    turns, changes = int(mean_steps(config)), {}
    if isinstance(config.model, NonDoublingSizes):
        changes = {"min_steps": turns, "max_steps": turns}
    batch_size = config.train.batch_size // num_devices
    train = dataclasses.replace(config.train, batch_size=batch_size, chunk_size=batch_size)
    program = update(dataclasses.replace(config, train=train), parallel.make_mesh(1), COUNTED, **changes)
    model = model_of(config, COUNTED)
    moved = 8.0 * sum(leaf.size for leaf in jax.tree.leaves(model))
    if isinstance(config.loss, PoolConfig):
        state_bytes = model.image_size**2 * (model.image_channels + 4 * model.latent_size)
        moved += 1.5 * config.train.batch_size * state_bytes
    return count_flops(program.function, *program.arguments), moved * (num_devices - 1) / num_devices
