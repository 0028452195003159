"""Makes nondoubling.npz: what the PyTorch model of benchmarks/torch_nondoubling.py computes in float64 at a small size.

Remake it from the root of the repository with `python -m tests.reference.make_nondoubling` (made with torch 2.13.0,
CPU). The numbers that go in come from NumPy's generator, and everything is stored as in doubling.npz.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.torch_nondoubling import NonDoublingVNCA, damage, pool_elbo
from benchmarks.torch_vnca import GRADIENT_NORM, build_optimizer
from tests.reference.make_doubling import channel_last, draw_inputs, fill_parameters, named_arrays

PATH = Path(__file__).with_name("nondoubling.npz")
SEED = 20220412
# Every size differs from its neighbours, and the encoder ends on a 2 x 2 grid, so that no mixed-up axis goes unseen.
SIZES = {
    "image_size": 6,
    "latent_size": 8,
    "hidden_size": 12,
    "num_steps": 5,
    "encoder_width": 4,
    "encoder_depth": 2,
}
FIRST_PADDING = 3  # makes 8 x 8 of 6 x 6 pixels
NUM_IMAGES = 3
NUM_SAMPLES = 5
POOL_IMAGES = 8  # of which the last half come from the pool
POOL_STEPS = 4
SQUARES = ((0, 3), (2, 1), (3, 0), (1, 3))  # top and left of a half-size square in each state from the pool
DAMAGED = (1, 3)  # the states whose square is set to zero


def forward_arrays(model: NonDoublingVNCA, x: Tensor, eps: Tensor, iw_eps: Tensor) -> dict[str, NDArray[np.float64]]:
    """Everything that the model computes without a gradient."""
    with torch.no_grad():
        mean, logvar = model.encode(x)
        z = mean + (logvar / 2).exp() * eps
        terms = model.elbo(x, eps)
        outputs = {"mean": mean, "logvar": logvar, "z": z, "logits": model.decode(z), **terms._asdict()}
        outputs["iwelbo"] = model.iwelbo(x, iw_eps)
        growth = {f"growth/{i:02d}": channel_last(model.run(model.seed(z), i)) for i in range(model.num_steps + 1)}
    return {name: tensor.numpy().copy() for name, tensor in outputs.items()} | growth


def make_squares() -> NDArray[np.bool_]:
    """The masks (n, h, w) of `SQUARES`."""
    size = SIZES["image_size"]
    masks = np.zeros((len(SQUARES), size, size), bool)
    for mask, (top, left) in zip(masks, SQUARES, strict=True):
        mask[top : top + size // 2, left : left + size // 2] = True
    return masks


def pool_arrays(model: NonDoublingVNCA, generator: np.random.Generator) -> dict[str, NDArray[Any]]:
    """What goes into one update with states from the pool, and what comes out; `model` is updated."""
    size, latent_size = SIZES["image_size"], SIZES["latent_size"]
    x, eps = draw_inputs(generator, SIZES, POOL_IMAGES)
    states = torch.from_numpy(generator.standard_normal((len(SQUARES), latent_size, size, size)))
    squares = make_squares()
    damaged = squares * np.isin(np.arange(len(squares)), DAMAGED)[:, None, None]
    start = damage(states, torch.from_numpy(damaged))

    optimizer = build_optimizer(model)
    optimizer.zero_grad()
    terms, cells = pool_elbo(model, x, eps, start, POOL_STEPS)
    loss = -terms.elbo.mean()
    loss.backward()
    arrays: dict[str, NDArray[Any]] = named_arrays(
        "pool/grad", {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    )
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
    assert norm > 1.5 * GRADIENT_NORM, norm
    optimizer.step()
    arrays |= named_arrays("pool/updated", dict(model.named_parameters()))
    arrays |= named_arrays("pool", {"loss": loss, "log_px": terms.log_px, "kl": terms.kl, "gradient_norm": norm})
    arrays |= {"pool/num_steps": np.asarray(POOL_STEPS), "pool/x": channel_last(x), "pool/eps": eps.numpy()}
    arrays |= {"pool/states": channel_last(states), "pool/squares": squares, "pool/cells": channel_last(cells)}
    return arrays


def main() -> None:
    """Compute and write the file."""
    generator = np.random.default_rng(SEED)
    model = NonDoublingVNCA(**SIZES, first_padding=FIRST_PADDING).double()
    fill_parameters(model, generator)
    x, eps, iw_eps = draw_inputs(generator, SIZES, NUM_IMAGES, NUM_SAMPLES)

    arrays: dict[str, NDArray[Any]] = {f"size/{name}": np.asarray(value) for name, value in SIZES.items()}
    arrays |= {"x": channel_last(x), "eps": eps.numpy(), "iw_eps": iw_eps.numpy()}
    arrays |= named_arrays("param", dict(model.named_parameters()))
    arrays |= forward_arrays(model, x, eps, iw_eps)
    (-model.elbo(x, eps).elbo.mean()).backward()
    arrays |= named_arrays("grad", {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    arrays |= pool_arrays(model, generator)

    np.savez_compressed(PATH, allow_pickle=False, **arrays)
    print(f"wrote {PATH} ({PATH.stat().st_size:,} bytes), gradient norm {arrays['pool/gradient_norm']}")


if __name__ == "__main__":
    main()
