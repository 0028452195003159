"""A linear probe on single cells: which digit do they belong to? Fitted and tested on different images."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from experiments.analysis import in_batches
from vnca_jax.eval import mean_and_error
from vnca_jax.models import VNCA

Labels = Integer[np.ndarray, " n"]

STRENGTH = 1.0  # inverse of the L2 penalty on the weights of standardized channels, scikit-learn's default


class Probe(NamedTuple):
    """Logits of the ten digits: cell @ weight + bias."""

    weight: Float[np.ndarray, "cell 10"]
    bias: Float[np.ndarray, "10"]


class Readings(NamedTuple):
    """What a probe says of every cell of some images: the likeliest digit, its probability, and if it is right."""

    digit: Integer[Array, "n h w"]
    probability: Float[Array, "n h w"]
    is_right: Float[Array, "n h w"]


def fit(cells: Float[np.ndarray, "n cell"], labels: Labels) -> Probe:
    """Multinomial logistic regression on standardized channels, written for the channels as they are."""
    mean, scale = cells.mean(axis=0), cells.std(axis=0)
    scale = np.where(scale > 0, scale, 1)
    found = LogisticRegression(C=STRENGTH, max_iter=300, tol=1e-3).fit((cells - mean) / scale, labels)
    weight, bias = np.zeros((cells.shape[-1], 10)), np.full(10, -1e9)  # a digit that never came is never said
    weight[:, found.classes_], bias[found.classes_] = found.coef_.T / scale[:, None], found.intercept_
    return Probe(weight.astype(np.float32), (bias - mean @ weight).astype(np.float32))


def read(probe: Probe, cells: Float[Array, "n h w cell"], labels: Integer[Array, " n"]) -> Readings:
    """The probe's answer in every cell."""
    probabilities = jax.nn.softmax(cells @ probe.weight + probe.bias[None, None, None])
    digit = probabilities.argmax(axis=-1)
    return Readings(digit, probabilities.max(axis=-1), (digit == labels[:, None, None]).astype(jnp.float32))


def some_cells(cells: Float[Array, "n h w cell"], places: Float[Array, "n k"]) -> Float[Array, "n k cell"]:
    """k cells of each image, at the places in [0, 1) along its rows laid end to end."""
    rows = cells.reshape(len(cells), -1, cells.shape[-1])
    return jnp.take_along_axis(rows, (places * rows.shape[1]).astype(jnp.int32)[..., None], axis=1)


def neighbourhoods(images: Float[Array, "n h w c"]) -> Float[Array, "n h w 9*c"]:
    """The 3x3 pixels around each, zeros outside: what a pixel's surroundings show by themselves."""
    _, h, w, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate([padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=-1)


def states(model: VNCA, x: Float[Array, "n h w c"]) -> list[Float[Array, "n _ _ _"]]:
    """All cell states while z = E[z|x] grows, step by step, and last the 3x3 pixels of the grown image."""
    stages = model.grow(model.encode(x)[0])
    grown = model.likelihood.mean(model.outputs(stages[-1][-1]))
    return [cells for stage in stages for cells in stage] + [neighbourhoods(grown)]


def probe(
    model: Any, x: Float[np.ndarray, "n h w c"], labels: Labels, *, num_splits: int, cells_per_image: int, seed: int
) -> tuple[list[Readings], Integer[np.ndarray, " m"]]:
    """Readings after each step, of the held-out quarter of the images of each split, and which images these are.

    Each step of each split has its own probe, fitted to `cells_per_image` random cells of each of the other images.
    """
    rng = np.random.default_rng(seed)
    places = rng.random((len(x), cells_per_image), np.float32)
    sampled = jax.jit(lambda model, x, p: [some_cells(cells, p) for cells in states(model, x)])
    cells = in_batches(lambda x, p: sampled(model, x, p), x, places)
    answers = jax.jit(lambda model, probes, x, y: [read(*of, y) for of in zip(probes, states(model, x), strict=True)])
    all_readings, all_held_out = [], []
    for _ in range(num_splits):
        order = rng.permutation(len(x))
        held_out, others = np.split(order, [len(x) // 4])
        fitted_to = np.repeat(labels[others], cells_per_image)
        probes = [
            fit(step[others].reshape(len(fitted_to), -1), fitted_to)
            for step in tqdm(cells, desc="fitting", unit="step", dynamic_ncols=True)
        ]
        held_out.sort()
        all_readings.append(in_batches(lambda x, y, p=probes: answers(model, p, x, y), x[held_out], labels[held_out]))
        all_held_out.append(held_out)
    return jax.tree.map(lambda *parts: np.concatenate(parts), *all_readings), np.concatenate(all_held_out)


def accuracies(
    readings: list[Readings], held_out: Integer[np.ndarray, " m"], on_digit: Bool[np.ndarray, "m h w"]
) -> list[dict[str, tuple[float, float]]]:
    """After each step the share of right cells, mean and standard error over images: of all, and on and off the digit.

    An image that was held out in several splits counts once, by its mean. Grids smaller than the image have no parts.
    """
    _, image = np.unique(held_out, return_inverse=True)
    shares = []
    for step in readings:
        parts = {"all": np.ones_like(step.is_right)}
        if step.is_right.shape == on_digit.shape:
            parts |= {"on the digit": on_digit.astype(float), "around it": 1.0 - on_digit}
        shares.append({})
        for name, part in parts.items():
            right = np.bincount(image, (part * step.is_right).sum(axis=(1, 2)))
            shares[-1][name] = mean_and_error(right / np.bincount(image, part.sum(axis=(1, 2))))
    return shares
