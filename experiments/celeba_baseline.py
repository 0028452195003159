"""The convolutional VAE on CelebA, 64x64, with beta = 100: the baseline of Fig. 11 (appendix A.1).

    python -m experiments.celeba_baseline --preset paper     five up-convolutions, latent 256, 100,000 updates
    python -m experiments.celeba_baseline --preset cpu       32x32, four of them, smaller, minutes on two cores

The paper gives no number for it. Ours: README.
"""

from experiments import baseline, cli
from experiments.baseline import ModelConfig
from experiments.elbo import ColourConfig
from vnca_jax.train import TrainConfig

PRESETS: dict[cli.Preset, cli.Config] = {
    "paper": cli.Config(ModelConfig(64, 256), cli.DataConfig("celeba"), loss=ColourConfig(beta=100.0)),
    "cpu": cli.Config(
        ModelConfig(32, 64, encoder_width=16, encoder_depth=3),
        cli.DataConfig("celeba"),
        TrainConfig(num_updates=2000, learning_rate=1e-3, cooldown_updates=700, report_every=500),
        cli.RunConfig(num_samples=16, limit=200),
        ColourConfig(beta=100.0),
    ),
}


def main(config: cli.Config) -> None:
    """Trains or resumes, evaluates and draws; the decoder doubles its grid once more often than the encoder halves."""
    baseline.main("celeba_baseline", config, decoder_depth=config.model.encoder_depth + 1, dense_elu=True)


if __name__ == "__main__":
    cli.main("experiments.celeba_baseline", __doc__, PRESETS, main)
