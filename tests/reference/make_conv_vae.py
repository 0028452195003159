"""Makes conv_vae.npz: what the PyTorch model of benchmarks/torch_baseline.py computes in float64 at a small size.

Remake it from the root of the repository with `python -m tests.reference.make_conv_vae` (made with torch 2.13.0, CPU).
The numbers that go in come from NumPy's generator, and everything is stored as in doubling.npz.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.torch_baseline import ConvVAE
from tests.reference.make_doubling import (
    LOSS_SCALES,
    channel_last,
    draw_inputs,
    fill_parameters,
    named_arrays,
    two_updates,
)

PATH = Path(__file__).with_name("conv_vae.npz")
SEED = 20220606
# Every size differs from its neighbours, and both networks have a 2 x 2 grid, so that no mixed-up axis goes unseen.
SIZES = {"image_size": 6, "latent_size": 8, "encoder_width": 3, "encoder_depth": 2}
FIRST_PADDING = 3  # makes 8 x 8 of 6 x 6 pixels
NUM_IMAGES = 3


def main() -> None:
    """Compute and write the file."""
    generator = np.random.default_rng(SEED)
    model = ConvVAE(**SIZES, first_padding=FIRST_PADDING).double()
    fill_parameters(model, generator)
    x, eps = draw_inputs(generator, SIZES, NUM_IMAGES)

    arrays: dict[str, NDArray[np.generic]] = {f"size/{name}": np.asarray(value) for name, value in SIZES.items()}
    arrays |= {"x": channel_last(x), "eps": eps.numpy(), "loss_scales": np.asarray(LOSS_SCALES)}
    arrays |= named_arrays("param", dict(model.named_parameters()))
    with torch.no_grad():
        mean, logvar = model.encode(x)
        z = mean + (logvar / 2).exp() * eps
        outputs = {"mean": mean, "logvar": logvar, "z": z, "logits": model.decode(z), **model.elbo(x, eps)._asdict()}
    arrays |= {name: tensor.numpy().copy() for name, tensor in outputs.items()}

    arrays |= two_updates(model, x, eps)

    np.savez_compressed(PATH, allow_pickle=False, **arrays)
    print(f"wrote {PATH} ({PATH.stat().st_size:,} bytes), gradient norms {arrays['gradient_norms']}")


if __name__ == "__main__":
    main()
