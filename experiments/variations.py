"""Variations of one configuration of the doubling VNCA (appendix A.8), by name."""

import dataclasses
from typing import Any

from experiments import cli
from vnca_jax.errors import InputError

MOST_MIXTURES = 4

# What differs from the configuration of the flags: factors of sizes, sizes, and the batch.
VARIATIONS: dict[str, dict[str, Any]] = {
    "as_it_is": {},
    "deeper": {"scale": {"num_blocks": 2}},
    "wider": {"scale": {"hidden_size": 2}},
    "larger_latent": {"scale": {"latent_size": 2}},
    "neighbour": {"sizes": {"update_network": "neighbour"}},
    "one_per_scale": {"sizes": {"one_per_scale": True}},
    "gru": {"sizes": {"update_network": "gru"}},
    "gated": {"sizes": {"update_network": "gated"}},
    "half_frozen": {"sizes": {"update_network": "half_frozen"}},
    "batch_4": {"batch_size": 4},
    "batch_128": {"batch_size": 128},
    "colours_1": {"sizes": {"image_channels": 3, "num_mixtures": 1}},
    "colours_4": {"sizes": {"image_channels": 3, "num_mixtures": 4}},
}


@dataclasses.dataclass(frozen=True)
class AblationConfig:
    """What is varied."""

    variations: tuple[str, ...] = tuple(VARIATIONS)
    """Variations by name; all by default."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each variation, in place of --seed."""
    colour_dataset: str = "coloured_digits"
    """Dataset of the variations that compare 1 and 4 mixture components, which need colours."""

    def __post_init__(self):
        for name in self.variations:
            if name not in VARIATIONS:
                raise InputError(f"--variations names {name!r}, but there are only {', '.join(VARIATIONS)}.")
        if not self.seeds or not self.variations:
            raise InputError("--seeds and --variations must name at least one each.")


def varied(config: cli.Config, variation: str, seed: int) -> cli.Config:
    """The configuration of one run; with colours a cell holds the parameters of as many components as any has."""
    changes = VARIATIONS[variation]
    sizes = {name: factor * getattr(config.model, name) for name, factor in changes.get("scale", {}).items()}
    sizes, data = sizes | changes.get("sizes", {}), config.data
    batch_size = changes.get("batch_size", config.train.batch_size)
    if "num_mixtures" in sizes:
        sizes["latent_size"] = max(config.model.latent_size, 10 * MOST_MIXTURES)
        data = dataclasses.replace(data, dataset=config.analysis.colour_dataset)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **sizes),
        data=data,
        train=dataclasses.replace(config.train, seed=seed, batch_size=batch_size),
        run=dataclasses.replace(config.run, name=f"{config.run.name or config.run.preset}/{variation}/{seed}"),
        analysis=cli.NoOptions(),
    )
