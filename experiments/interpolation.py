"""Ways from one encoding to another, with every image on the way (Fig. 5a)."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from vnca_jax import figures
from vnca_jax.models import VAE

Latents = Float[np.ndarray, "n latent"]


def straight(start: Latents, end: Latents, t: float) -> Latents:
    """(1 - t) start + t end."""
    return (1 - t) * start + t * end


def spherical(start: Latents, end: Latents, t: float) -> Latents:
    """(sin((1 - t) a) start + sin(t a) end) / sin(a), where a is the angle between the two; straight where a = 0."""
    lengths = np.linalg.norm(start, axis=-1) * np.linalg.norm(end, axis=-1)
    angle = np.arccos(np.clip((start * end).sum(axis=-1) / lengths, -1, 1))[:, None]
    sine = np.maximum(np.sin(angle), np.finfo(np.float32).tiny)
    way = (np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / sine
    return np.where(angle < 1e-3, straight(start, end, t), way).astype(start.dtype)


def draw(path: Path, model: VAE, start: Latents, end: Latents, num_steps: int) -> None:
    """Rows of E[x|z] for z between each start and its end, straight, then on the sphere."""
    ts = np.linspace(0, 1, num_steps)
    ways = [np.stack([way(start, end, t) for t in ts], axis=1) for way in (straight, spherical)]
    rows = np.stack(ways, axis=1).reshape(-1, start.shape[-1]).astype(np.float32)
    means = jax.jit(lambda model, z: model.likelihood.mean(model.decode(z)))(model, rows)
    figures.rows(path, list(np.asarray(means).reshape(-1, num_steps, *means.shape[1:])))
