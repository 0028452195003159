"""Stability and healing of a trained non-doubling VNCA, as numbers, curves and pictures (section 3.3; Figs. 9, 17)."""

import dataclasses
from typing import Any

import jax
import jax.random as jr
import numpy as np

from experiments.cli import check_at_least
from experiments.run import Run
from vnca_jax import automaton, figures, models
from vnca_jax.errors import InputError
from vnca_jax.eval import evaluate, mean_and_error
from vnca_jax.models import NonDoublingVNCA
from vnca_jax.resilience import Readings, Resilience, damage_masks, measure

PICTURED = 8  # samples in a row
NATS_PER_BIT = float(np.log(2))


@dataclasses.dataclass(frozen=True)
class ResilienceConfig:
    """What is measured of stability and healing."""

    num_states: int = 1000
    """Test images to grow, damage and follow."""
    stability_steps: int = 1000
    """NCA steps to follow each state for."""
    step_counts: tuple[int, ...] = (16, 32, 40, 48, 56, 64, 96, 128, 256)
    """Numbers of steps T to take the IWELBO at."""
    step_count_images: int = 100
    """Test images of each of these."""
    step_count_samples: int = 16
    """Importance samples of each of these."""

    def __post_init__(self):
        smallest = {"num_states": 2, "stability_steps": 1, "step_count_images": 2, "step_count_samples": 1}
        check_at_least(self, smallest)
        if min(self.step_counts) < 1:
            raise InputError(f"--step-counts is {min(self.step_counts)}, but must be at least 1.")


def report(run: Run, model: NonDoublingVNCA, config: ResilienceConfig, *, key: Any) -> None:
    """Measures, prints the recovery table, adds everything to results.json, and draws curves, sheets and the GIF."""
    measure_key, sample_key = jr.split(key)
    images = run.dataset.some_test_images(config.num_states)
    steps = max(config.stability_steps, model.num_steps)
    found = measure(model, images, steps, key=measure_key, mesh=run.mesh)
    if run.is_first:
        show(run, model, found, len(images))
    bound_by_steps(run, model, config)
    if run.is_first:
        draw(run, model, key=sample_key)


def show(run: Run, model: NonDoublingVNCA, found: Resilience, num_images: int) -> None:
    """The recovery table, the readings in results.json, and their curves."""
    rows = recovery_rows(found, model.num_steps)
    print(f"\nRecovery over {num_images} test images, z ~ q(z|x), mean +- standard error:")
    print(f"{'state':<34}{'pixel error, %':>18}{'log p(x|z), nats':>22}{'bits':>22}")
    for name, terms in rows.items():
        (error, error_se), (log_px, log_px_se) = terms["pixel_error"], terms["log_px_given_z"]
        columns = f"{_format(100 * error, 100 * error_se):>18}{_format(log_px, log_px_se):>22}"
        print(f"{name:<34}{columns}{_format(log_px / NATS_PER_BIT, log_px_se / NATS_PER_BIT):>22}")
    curves = {"growth": found.growth, **found.healing}
    means = {
        name: {term: getattr(curve, term).mean(axis=1).tolist() for term in Readings._fields}
        for name, curve in curves.items()
    }
    run.add_results(recovery={"num_images": num_images, "rows": rows}, curves=means)
    for term, ylabel in (
        ("pixel_error", "pixel error (binary: share of wrong pixels)"),
        ("log_px_given_z", "log p(x|z), nats"),
    ):
        series = {name: (np.arange(len(mean[term])), np.asarray(mean[term])) for name, mean in means.items()}
        figures.curves(run.figure(f"stability_{term}.png"), {"": series.pop("growth")}, xlabel="step", ylabel=ylabel)
        figures.curves(run.figure(f"healing_{term}.png"), series, xlabel="step after the damage", ylabel=ylabel)


def recovery_rows(found: Resilience, num_steps: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and standard error of each reading before a damage, after it, and T steps later; and without damage."""
    last = len(found.growth.pixel_error) - 1
    states = {f"grown for {num_steps} steps": (found.growth, num_steps)}
    on = sorted({2 * num_steps, *(t for t in (100, 200, 500) if t > 2 * num_steps), last})
    states |= {f"undamaged, {t} steps": (found.growth, t) for t in on if num_steps < t <= last}
    for name, curve in found.healing.items():
        states |= {f"{name} set to zero": (curve, 0), f"{name}, healed for {num_steps} steps": (curve, num_steps)}
    return {
        name: {term: mean_and_error(getattr(curve, term)[step]) for term in Readings._fields}
        for name, (curve, step) in states.items()
    }


def bound_by_steps(run: Run, model: NonDoublingVNCA, config: ResilienceConfig) -> None:
    """The IWELBO as a function of T: a table, results.json and a curve."""
    images = run.dataset.some_test_images(config.step_count_images)
    samples, seed = config.step_count_samples, run.config.train.seed
    print(f"\nIWELBO (K = {samples}) of {len(images)} test images by number of NCA steps T:")
    bounds = {}
    for t in config.step_counts:
        bounds[t] = evaluate(
            models.replace(model, num_steps=t), images, num_samples=samples, seed=seed, mesh=run.mesh
        ).terms["iwelbo"]
        print(f"{t:>6}{f'{bounds[t][0]:.2f} +- {bounds[t][1]:.2f}':>20} nats")
    if not run.is_first:
        return
    run.add_results(iwelbo_by_steps={"num_images": len(images), "num_samples": samples, "nats": bounds})
    series = {"": (np.array([*bounds]), np.array([mean for mean, _ in bounds.values()]))}
    figures.curves(run.figure("iwelbo_by_steps.png"), series, xlabel="NCA steps T", ylabel="IWELBO, nats")


def draw(run: Run, model: NonDoublingVNCA, *, key: Any) -> None:
    """Fig. 9: samples, damaged, recovered, and one recovery step by step; Fig. 17: growth; and an animation."""
    z_key, square_key = jr.split(key)
    z = jr.normal(z_key, (PICTURED, model.latent_size))
    masks = damage_masks(model.image_size, model.image_size, keys=jr.split(square_key, PICTURED))

    @jax.jit
    def grow_and_heal(model, z):
        [growth] = model.grow(z)
        healing = [growth]
        for mask in masks.values():
            damaged = automaton.damage(growth[-1], mask)
            healing.append(jax.numpy.concatenate([damaged[None], model.steps(damaged, model.num_steps, keep=True)]))
        return [model.likelihood.mean(model.outputs(cells)) for cells in healing]

    growth, *healings = [np.asarray(stage) for stage in grow_and_heal(model, z)]
    figures.samples(run.figure("growth.png"), growth[:, 0])
    for name, healing in zip(masks, healings, strict=True):
        slug = name.replace(" ", "_")
        figures.rows(run.figure(f"recovery_{slug}.png"), [growth[-1], healing[0], healing[-1]])
        figures.samples(run.figure(f"recovery_steps_{slug}.png"), healing[:, 0])
    figures.growth_gif(run.figure("growth_damage_healing.gif"), [growth, *healings])


def _format(mean, error):
    return f"{mean:.2f} +- {error:.2f}" if abs(mean) < 1e5 else f"{mean:.1e} +- {error:.0e}"
