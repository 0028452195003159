"""Test bounds of a trained model, with standard errors: `python -m vnca_jax.eval --ckpt PATH`."""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.random as jr
import numpy as np
import tyro
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray, UInt8
from tqdm import tqdm

from vnca_jax import bounds, compute, data, joining, models, parallel, paths, processes, remat
from vnca_jax.checkpoint import import_model
from vnca_jax.compilation import keep_compiled
from vnca_jax.errors import InputError, reported
from vnca_jax.run_directory import check_can_be_written
from vnca_jax.train import split_seed
from vnca_jax.writing import write_json

LABELS = {
    "iwelbo": "IWELBO",
    "elbo": "ELBO",
    "log_px_given_z": "log p(x|z)",
    "kl": "KL(q(z|x) || p(z))",
}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Mean and standard error over the images of each term, in nats, and what they cover."""

    terms: dict[str, tuple[float, float]]
    num_samples: int
    num_images: int
    image_shape: tuple[int, int, int]
    seed: int
    num_devices: int
    device: str
    seconds: float
    num_steps: int | None = None
    compute_dtype: str = "float32"

    def as_json(self) -> dict[str, Any]:
        """Each term as [mean, standard error] in nats and in bits per dimension, and the rest, for results.json."""
        facts = dataclasses.asdict(self)
        facts["terms"] = {
            name: {"nats": self._row(name)[:2], "bits_per_dimension": self._row(name)[2:]} for name in self.terms
        }
        return facts

    def table(self) -> str:
        """The terms as a table, and a line on what they cover."""
        rows = [f"{'':<20}{'nats':>20}{'bits per dimension':>24}"]
        for name in self.terms:
            nats, nats_error, bits, bits_error = self._row(name)
            label = f"{LABELS[name]}, K={self.num_samples}" if name == "iwelbo" else LABELS[name]
            rows.append(f"{label:<20}{f'{nats:.2f} +- {nats_error:.2f}':>20}{f'{bits:.4f} +- {bits_error:.4f}':>24}")
        height, width, channels = self.image_shape
        return "\n".join(
            [
                *rows,
                f"mean +- standard error over {self.num_images} test images of {height}x{width}x{channels} pixels, "
                f"{self.num_samples} samples each, {f'T = {self.num_steps} NCA steps, ' if self.num_steps else ''}"
                f"seed {self.seed}; "
                f"{self.seconds:.1f} s on {self.num_devices} x {self.device} in {self.compute_dtype}",
            ]
        )

    def _row(self, name):
        """Mean and standard error in nats, then in bits per dimension; a KL is a cost, so its bits are positive too."""
        mean, error = self.terms[name]
        bits = bounds.bits_per_dimension(-mean if name == "kl" else mean, self.image_shape)
        return mean, error, bits, -bounds.bits_per_dimension(error, self.image_shape)


def evaluate(
    model: models.VAE,
    images: UInt8[np.ndarray, "n h w c"],
    *,
    num_samples: int,
    seed: int,
    mesh: Mesh,
    quiet: bool = False,
) -> Evaluation:
    """IWELBO, ELBO and its terms of `images`, sharded over the devices of `mesh`, with a progress bar unless `quiet`.

    Image i draws its samples from key fold_in(key, i), so the result does not depend on devices or batches. Raises
    InputError for fewer than two images, which have no standard error, or no samples.
    """
    for name, value, smallest in (("`num_samples`", num_samples, 1), ("the number of test images", len(images), 2)):
        if value < smallest:
            raise InputError(f"{name} is {value}, but must be at least {smallest}.")
    started_at = time.monotonic()
    chunk_size, batch_size = block_sizes(model, num_samples, len(images), mesh.size)
    bound = make_bound(model, split_seed(seed).evaluate, num_samples, chunk_size, mesh)
    model = parallel.place(model, mesh)
    results = []
    hidden = quiet or not processes.is_first()
    with tqdm(total=len(images), unit="image", desc="evaluating", dynamic_ncols=True, disable=hidden) as bar:
        for index, count in parallel.batches(len(images), batch_size):
            batch, places = parallel.place((images[index], index), mesh, parallel.SHARDED)
            found = parallel.fetch(bound(model, batch, places))
            results.append(jax.tree.map(lambda x, count=count: x[:count], found))
            bar.update(count)
            bar.set_postfix_str(f"IWELBO {np.concatenate([r.iwelbo for r in results]).mean():.2f} nats")
    joined = {name: np.concatenate([getattr(r, name) for r in results]).astype(np.float64) for name in LABELS}
    return Evaluation(
        terms={name: mean_and_error(x) for name, x in joined.items()},
        num_samples=num_samples,
        num_images=len(images),
        image_shape=tuple(images.shape[1:]),
        seed=seed,
        num_devices=mesh.size,
        device=jax.devices()[0].device_kind,
        seconds=time.monotonic() - started_at,
        num_steps=model.num_steps if isinstance(model, models.NonDoublingVNCA) else None,
        compute_dtype=model.compute.dtype,
    )


def block_sizes(model: models.VAE, num_samples: int, num_images: int, num_devices: int) -> tuple[int, int]:
    """Samples that are decoded at once, which divide `num_samples`, and images of a batch of all devices."""
    at_once = remat.decodes_at_once(model)
    chunk_size = max(
        divisor for divisor in range(1, num_samples + 1) if num_samples % divisor == 0 and divisor <= at_once
    )
    return chunk_size, num_devices * max(1, min(at_once // chunk_size, -(-num_images // num_devices)))


def mean_and_error(x: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The mean and its standard error, s / sqrt(n), of at least two values."""
    x = np.asarray(x, np.float64)
    return float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))


def make_bound(model: models.VAE, key: PRNGKeyArray, num_samples: int, chunk_size: int, mesh: Mesh) -> Callable:
    """A compiled `(model, images, index) -> Iwelbo` of images that are sharded over `mesh`, image i with key i."""

    def bound(model, images, index):
        keys = jax.vmap(partial(jr.fold_in, key))(index)

        def noise(k):
            return bounds.sample_noise(jax.vmap(lambda image_key: jr.fold_in(image_key, k))(keys), model.latent_size)

        x = model.likelihood.from_levels(images)
        return bounds.iwelbo(model, x, noise, num_samples=num_samples, chunk_size=chunk_size)

    sharded = jax.shard_map(
        bound,
        mesh=mesh,
        in_specs=(parallel.REPLICATED, parallel.SHARDED, parallel.SHARDED),
        out_specs=parallel.SHARDED,
    )
    return jax.jit(sharded)


@dataclasses.dataclass(frozen=True)
class Options:
    """Bounds on log p(x) of a trained model on the test images of the dataset it was trained on."""

    ckpt: Path
    """A model.eqx, or a run directory that holds one."""
    num_samples: int = 128
    """Importance samples per image, K."""
    limit: int | None = None
    """Number of test images to evaluate, evenly spread over the test set; None takes all."""
    num_steps: int | None = None
    """NCA steps T of a non-doubling model; None is the number in its file (48, the mean of 32 to 64, for MNIST)."""
    seed: int = 0
    """Seed of the samples of z."""
    dataset: str | None = None
    """Dataset by name; None is the one that the model was trained on."""
    data_dir: Path | None = None
    """Folder with the dataset's official files, or your own pictures; None looks in $VNCA_DATA_DIR, /kaggle/input."""
    num_devices: int | None = None
    """Number of devices; None takes all that JAX sees."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Write the results to this file too."""
    compute_dtype: compute.ComputeDtype = "auto"
    """Type of the automaton's dots and convolutions; auto is what is fastest on the device."""
    distributed: bool = False
    """Evaluate together with other processes; SLURM's tasks and a TPU slice's hosts need no flag."""


def main(options: Options) -> Evaluation:
    """Evaluates, prints the table and writes the JSON file."""
    for flag, value, smallest in (("--limit", options.limit, 2), ("--num-samples", options.num_samples, 1)):
        if value is not None and value < smallest:
            raise InputError(f"{flag} is {value}, but must be at least {smallest}.")
    if options.json:
        check_can_be_written("--json", options.json)
    model, header = import_model(options.ckpt, compute=compute.choose(dtype=options.compute_dtype))
    if options.num_steps is not None:
        if not isinstance(model, models.NonDoublingVNCA):
            raise InputError(
                f"{options.ckpt} holds a {header['model']}, whose steps are fixed; leave --num-steps out for it."
            )
        model = models.replace(model, num_steps=options.num_steps)
    mesh = parallel.make_mesh(options.num_devices)
    name = options.dataset or header.get("dataset")
    if name is None:
        raise InputError(f"{options.ckpt} does not say which dataset it was trained on; name one with --dataset.")
    dataset = data.load_padded(name, model.image_size, data_dir=options.data_dir)
    images = dataset.some_test_images(options.limit)
    evaluation = evaluate(model, images, num_samples=options.num_samples, seed=options.seed, mesh=mesh)
    print(f"{header['model']} of {options.ckpt}, {header.get('step', 'unknown')} updates, on {dataset.name}")
    print(evaluation.table())
    if options.json and processes.is_first():
        write_json(options.json, {"ckpt": str(options.ckpt), "dataset": dataset.name, **evaluation.as_json()})
    return evaluation


def command(prog: str, arguments: list[str]) -> None:
    """Evaluates as the flags say; a mistake in them is one sentence and exit code 2."""
    parallel.use_all_cores()
    keep_compiled()
    with reported():
        config = (tyro.conf.FlagCreatePairsOff,)
        options = paths.expanded_in(
            tyro.cli(Options, args=arguments, prog=prog, description=Options.__doc__, config=config)
        )
        with joining.joined(options.distributed):
            main(options)


if __name__ == "__main__":
    command("python -m vnca_jax.eval", sys.argv[1:])
