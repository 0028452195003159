"""What the experiments with the doubling VNCA share: the model's flags, its training and its pictures."""

import dataclasses
from typing import Any

import jax
import jax.random as jr

from experiments import checks, cli, elbo, pictures
from experiments.run import start
from vnca_jax.models import DoublingVNCA


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model; the defaults are the paper's for MNIST."""

    latent_size: int = 256
    """Numbers in z, and in a cell."""
    hidden_size: int = 256
    """Channels inside the update network."""
    num_doublings: int = 4
    """Doublings, K; images have 2^(K + 1) pixels a side."""
    steps_per_doubling: int = 8
    """NCA steps before the first and after each doubling, M."""
    num_blocks: int = 4
    """Residual blocks of the update network."""
    encoder_width: int = 32
    """Channels of the encoder's first convolution; each further one doubles them."""
    encoder_depth: int = 4
    """Convolutions of stride 2 in the encoder."""

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return 2 ** (self.num_doublings + 1)


def main(experiment: str, config: cli.Config, *, pictured: bool = True, **changes: Any) -> None:
    """Trains or resumes, evaluates, and draws if it is to be `pictured`."""
    checks.check_model((config.model, config.loss), lambda key: elbo.build(DoublingVNCA, config, key=key, **changes)[0])
    with start(experiment, config, config.model.image_size) as run:
        model, loss = elbo.build(DoublingVNCA, config, key=run.keys.init, **changes)
        sample_key, growth_key = jr.split(run.keys.draw)
        report = pictures.reporter(run, key=sample_key) if pictured else None
        state = run.fit(model, loss, report=report)
        run.export_and_evaluate(state)
        if not (pictured and run.is_first):
            return
        model = jax.device_get(state.trained_model)
        pictures.trained(run, model, key=sample_key)
        pictures.growth(run.figure("growth.png"), run.figure("growth.gif"), model, key=growth_key)
