"""The convolutional VAE on CelebA, 64x64, with beta = 100: the baseline of Fig. 11 (appendix A.1).

    python -m experiments.celeba_baseline --preset paper     five up-convolutions, latent 256, 100,000 updates
    python -m experiments.celeba_baseline --preset cpu       32x32, four of them, smaller, minutes on two cores

The decoder doubles its grid once more often than the encoder halves it. The paper gives no number for it.
Ours: docs/results.md.
"""

from experiments import cli, pictures
from experiments.cli import Config, DataConfig, Preset, RunConfig
from experiments.losses import ElboConfig
from experiments.run import start
from vnca_jax.losses import elbo_loss
from vnca_jax.models import ConvSizes, ConvVAE
from vnca_jax.train import TrainConfig

PRESETS: dict[Preset, Config] = {
    "paper": Config(
        ConvSizes(64, 256, decoder_depth=5, dense_elu=True, image_channels=3, num_mixtures=1),
        DataConfig("celeba"),
        loss=ElboConfig(beta=100.0),
    ),
    "cpu": Config(
        ConvSizes(32, 64, 16, 3, decoder_depth=4, dense_elu=True, image_channels=3, num_mixtures=1),
        DataConfig("celeba"),
        TrainConfig(num_updates=2000, learning_rate=1e-3, cooldown_updates=700, report_every=500),
        RunConfig(num_samples=16, limit=200),
        ElboConfig(beta=100.0),
    ),
}


def main(config: Config) -> None:
    """Trains or resumes, evaluates and draws."""
    with start("celeba_baseline", config) as run:
        model = ConvVAE(config.model, compute=run.compute, key=run.keys.init)
        loss = elbo_loss(beta=config.loss.beta, beta_updates=config.loss.beta_updates)
        state = run.fit(model, loss, report=pictures.reporter(run, key=run.keys.draw))
        model = run.export_and_evaluate(state)
        if run.is_first:
            pictures.trained(run, model, key=run.keys.draw)


if __name__ == "__main__":
    cli.main("experiments.celeba_baseline", __doc__, PRESETS, main)
