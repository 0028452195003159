"""Makes conv_vae.npz: what the PyTorch model of benchmarks/torch_baseline.py computes in float64 at a small size.

Remake it from the root of the repository with `python -m tests.reference.make_conv_vae` (made with torch 2.13.0, CPU).
The numbers that go in come from NumPy's generator, and everything is stored as in doubling.npz.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.torch_baseline import ConvVAE
from benchmarks.torch_vnca import GRADIENT_NORM, build_optimizer
from tests.reference.make_doubling import channel_last, named_arrays

PATH = Path(__file__).with_name("conv_vae.npz")
SEED = 20220606
# Every size differs from its neighbours, and both networks have a 2 x 2 grid, so that no mixed-up axis goes unseen.
SIZES = {"image_size": 6, "latent_size": 8, "encoder_width": 3, "encoder_depth": 2}
FIRST_PADDING = 3  # makes 8 x 8 of 6 x 6 pixels
NUM_IMAGES = 3
# The first update's gradient must be clipped and the second's not: Adam's first step does not depend on the scale of
# its gradient, the second depends on the ratio of the two.
LOSS_SCALES = (1.0, 0.005)


def fill_parameters(model: nn.Module, generator: np.random.Generator) -> None:
    """Draw every parameter, at a scale that keeps activations of order 1."""
    with torch.no_grad():
        for parameter in model.parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 10
            values = generator.standard_normal(tuple(parameter.shape)) / np.sqrt(fan)
            parameter.copy_(torch.from_numpy(values))


def main() -> None:
    """Compute and write the file."""
    generator = np.random.default_rng(SEED)
    model = ConvVAE(**SIZES, first_padding=FIRST_PADDING).double()
    fill_parameters(model, generator)
    size, latent_size = SIZES["image_size"], SIZES["latent_size"]
    x = torch.from_numpy(generator.integers(0, 2, (NUM_IMAGES, 1, size, size)).astype(np.float64))
    eps = torch.from_numpy(generator.standard_normal((NUM_IMAGES, latent_size)))

    arrays: dict[str, NDArray[np.generic]] = {f"size/{name}": np.asarray(value) for name, value in SIZES.items()}
    arrays |= {"x": channel_last(x), "eps": eps.numpy(), "loss_scales": np.asarray(LOSS_SCALES)}
    arrays |= named_arrays("param", dict(model.named_parameters()))
    with torch.no_grad():
        mean, logvar = model.encode(x)
        z = mean + (logvar / 2).exp() * eps
        outputs = {"mean": mean, "logvar": logvar, "z": z, "logits": model.decode(z), **model.elbo(x, eps)._asdict()}
    arrays |= {name: tensor.numpy().copy() for name, tensor in outputs.items()}

    optimizer, norms = build_optimizer(model), []
    for prefix, scale in zip(("updated", "updated_twice"), LOSS_SCALES, strict=True):
        optimizer.zero_grad()
        (-scale * model.elbo(x, eps).elbo.mean()).backward()
        if prefix == "updated":
            arrays |= named_arrays("grad", {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM).item())
        optimizer.step()
        arrays |= named_arrays(prefix, dict(model.named_parameters()))
    assert norms[0] > 1.5 * GRADIENT_NORM and norms[1] < 0.5 * GRADIENT_NORM, norms
    arrays["gradient_norms"] = np.asarray(norms)

    np.savez_compressed(PATH, allow_pickle=False, **arrays)
    print(f"wrote {PATH} ({PATH.stat().st_size:,} bytes), gradient norms {norms}")


if __name__ == "__main__":
    main()
