"""The non-doubling VNCA on MNIST, with pool and damage training: Figs. 9, 12 and 17 of the paper, and its number.

    python -m experiments.mnist_nondoubling --preset paper     static binarized MNIST, 28x28, 100,000 updates
    python -m experiments.mnist_nondoubling --preset cpu       scikit-learn's digits, minutes on two cores

IWELBO with 128 samples on the test set: -90.97 nats in the paper, -87.92 in the reproduction study. Ours: README.
"""

import dataclasses

import jax
import jax.random as jr

from experiments import cli, pictures, resilience
from vnca_jax import pool
from vnca_jax.losses import pool_loss
from vnca_jax.models import NonDoublingVNCA
from vnca_jax.train import TrainConfig


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model; the defaults are the paper's."""

    image_size: int = 28
    """Pixels a side; larger than the dataset's adds a zero border."""
    latent_size: int = 128
    """Numbers in z, and in a cell."""
    hidden_size: int = 128
    """Channels inside the update network."""
    num_blocks: int = 0
    """Residual blocks of the update network; 0 is the simple one of the paper's MNIST model."""
    num_steps: int = 48
    """NCA steps T of evaluation and pictures."""
    min_steps: int = 32
    """Fewest NCA steps of a training batch, whose T is uniform."""
    max_steps: int = 64
    """Most NCA steps of a training batch, included."""
    update_probability: float = 1.0
    """Probability that a step updates a cell."""
    encoder_width: int = 32
    """Channels of the encoder's first convolution; each further one doubles them."""
    encoder_depth: int = 4
    """Convolutions of stride 2 in the encoder."""


@dataclasses.dataclass(frozen=True)
class PoolConfig:
    """The pool, and the loss of training with it."""

    pool_size: int = 1024
    """States in the pool, P, over all devices."""
    beta: float = 1.0
    """Weight of the KL; 0.5 makes up for the half of a batch whose KL counts though its z is not decoded."""


PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(
        ModelConfig(),
        cli.DataConfig("binarized_mnist"),
        TrainConfig(batch_size=128),
        loss=PoolConfig(),
        analysis=resilience.ResilienceConfig(step_count_images=1000, step_count_samples=128),
    ),
    "cpu": cli.Config(
        ModelConfig(8, 32, 32, num_steps=16, min_steps=4, max_steps=8, encoder_width=16, encoder_depth=2),
        cli.DataConfig("digits"),
        TrainConfig(num_updates=2500, batch_size=64, learning_rate=2e-3, cooldown_updates=1000, report_every=500),
        loss=PoolConfig(beta=0.5),
        analysis=resilience.ResilienceConfig(),
    ),
}


def build(config: cli.Config, *, key):
    """The model, its loss and the loss's first carry."""
    model = NonDoublingVNCA(**dataclasses.asdict(config.model), key=key)
    carry = pool.empty(config.loss.pool_size, (model.image_size, model.image_size, 1), model.latent_size)
    return model, pool_loss(beta=config.loss.beta, chunk_size=config.train.chunk_size), carry


def main(config: cli.Config) -> None:
    """Trains or resumes, evaluates, measures stability and healing, and draws."""
    with cli.start("mnist_nondoubling", config, config.model.image_size) as run:
        pool.check_sizes(config.loss.pool_size, config.train.batch_size, run.mesh)
        model, loss, carry = build(config, key=run.keys.init)
        sample_key, resilience_key = jr.split(run.keys.draw)
        state = run.fit(loss, model, carry, report=pictures.reporter(run, key=sample_key))
        run.export_and_evaluate(state)
        pictures.trained(run, state.model, key=sample_key)
        resilience.report(run, jax.device_get(state.model), config.analysis, key=resilience_key)


if __name__ == "__main__":
    cli.main("experiments.mnist_nondoubling", __doc__, PRESETS, main)
