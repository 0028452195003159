"""What the page should show, from our own models: `python web/test/expected.py --site site --out FILE`."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import tyro

from vnca_jax import automaton, pretrained
from vnca_jax.writing import write_json


@dataclass(frozen=True)
class Options:
    """Writes z, and what is grown from it before and after damage, for the tests in the browser."""

    out: Path
    """The JSON file to write."""
    site: Path = Path("site")
    """The page, whose strip of digits is encoded."""
    nondoubling: str = "mnist_nondoubling_small"
    """The model that comes with the project which the page was built from."""
    doubling: str = "mnist_doubling_small"
    """The other one."""


def main(options: Options) -> None:
    """E[x] of grown cells, of the same without its right half, and T steps later; encodings; a doubling growth."""
    model, doubling = pretrained(options.nondoubling), pretrained(options.doubling)
    mean = jax.jit(lambda cells: model.likelihood.mean(model.outputs(cells)))
    steps = jax.jit(lambda cells: model.steps(cells, model.num_steps))
    z = jr.normal(jr.key(5), (model.latent_size,))
    grown = steps(model.seed(z))
    hurt = automaton.damage(grown, automaton.right_half(*grown.shape[:2]))
    z_doubling = jr.normal(jr.key(6), (doubling.latent_size,))
    found = {
        "z": z,
        "num_steps": model.num_steps,
        "grown": mean(grown).ravel(),
        "hurt": mean(hurt).ravel(),
        "healed": mean(steps(hurt)).ravel(),
        "z_doubling": z_doubling,
        "doubled": doubling.likelihood.mean(doubling.decode(z_doubling)).ravel(),
        "encodings": encodings(model, options.site / "model" / "digits.json"),
    }
    write_json(options.out, {name: np.asarray(value).tolist() for name, value in found.items()})


def encodings(model, path):
    """The mean of q(z|x) of the digits in the strip; none where the page was built without the data."""
    if not path.exists():
        return []
    strip = json.loads(path.read_text())
    bits = [np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8)) for text in strip["images"]]
    images = np.stack([b[: strip["side"] ** 2].reshape(strip["side"], -1, 1) for b in bits])
    return model.encode(jnp.asarray(images, jnp.float32))[0]


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python web/test/expected.py", description=Options.__doc__))
