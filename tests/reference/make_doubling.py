"""Makes doubling.npz: what the PyTorch model of benchmarks/torch_vnca.py computes in float64 at a small size.

Remake it from the root of the repository with `python -m tests.reference.make_doubling` (made with torch 2.13.0, CPU).
The numbers that go in (parameters, images, noise) come from NumPy's generator, so another torch changes no more than
rounding. Images, logits and cells are stored channel-last; parameters and gradients as PyTorch holds them.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.torch_vnca import GRADIENT_NORM, VAE, VNCA, DoublingVNCA, build_optimizer

PATH = Path(__file__).with_name("doubling.npz")
SEED = 20220203
# Every size differs from its neighbours, and the encoder ends on a 2 x 2 grid, so that no mixed-up axis goes unseen.
SIZES = {
    "image_size": 8,
    "latent_size": 8,
    "hidden_size": 12,
    "steps_per_doubling": 3,
    "encoder_width": 4,
    "encoder_depth": 2,
    "num_blocks": 4,
}
NUM_IMAGES = 3
NUM_SAMPLES = 5
BETA = 2.5
# The first update's gradient must be clipped and the second's not: Adam's first step does not depend on the scale of
# its gradient, the second depends on the ratio of the two.
LOSS_SCALES = (1.0, 0.005)


def fill_parameters(model: nn.Module, generator: np.random.Generator) -> None:
    """Draw every parameter, zero-initialised ones included, at a scale that keeps activations and cells of order 1."""
    last = f"update_net.{len(model.update_net) - 1}." if isinstance(model, VNCA) else None
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            gain = 0.1 if last and name.startswith(last) else 1.0
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 10
            values = generator.standard_normal(tuple(parameter.shape)) * gain / np.sqrt(fan_in)
            parameter.copy_(torch.from_numpy(values))


def named_arrays(prefix: str, tensors: dict[str, Tensor]) -> dict[str, NDArray[np.float64]]:
    """Copies of the tensors under `prefix/name`."""
    return {f"{prefix}/{name}": tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def channel_last(cells: Tensor) -> NDArray[np.float64]:
    """(n, c, h, w) to (n, h, w, c)."""
    return cells.detach().permute(0, 2, 3, 1).numpy().copy()


def draw_inputs(
    generator: np.random.Generator, sizes: dict[str, int], num_images: int, num_samples: int = 0
) -> tuple[Tensor, ...]:
    """Binary images, noise for each, and, if there are samples of a bound, the noise of these."""
    size, latent_size = sizes["image_size"], sizes["latent_size"]
    x = torch.from_numpy(generator.integers(0, 2, (num_images, 1, size, size)).astype(np.float64))
    shapes = [(num_images, latent_size), *([(num_samples, num_images, latent_size)] if num_samples else [])]
    return x, *(torch.from_numpy(generator.standard_normal(shape)) for shape in shapes)


def two_updates(model: VAE, x: Tensor, eps: Tensor) -> dict[str, NDArray[np.float64]]:
    """Updates on LOSS_SCALES times the mean negative ELBO: gradient, parameters after each, norms before clipping."""
    arrays, optimizer, norms = {}, build_optimizer(model), []
    for prefix, scale in zip(("updated", "updated_twice"), LOSS_SCALES, strict=True):
        optimizer.zero_grad()
        (-scale * model.elbo(x, eps).elbo.mean()).backward()
        if prefix == "updated":
            arrays |= named_arrays("grad", {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM).item())
        optimizer.step()
        arrays |= named_arrays(prefix, dict(model.named_parameters()))
    assert norms[0] > 1.5 * GRADIENT_NORM and norms[1] < 0.5 * GRADIENT_NORM, norms
    return arrays | {"gradient_norms": np.asarray(norms)}


def forward_arrays(model: DoublingVNCA, x: Tensor, eps: Tensor, iw_eps: Tensor) -> dict[str, NDArray[np.float64]]:
    """Everything that the model computes without a gradient."""
    with torch.no_grad():
        mean, logvar = model.encode(x)
        z = mean + (logvar / 2).exp() * eps
        terms = model.elbo(x, eps)
        outputs = {"mean": mean, "logvar": logvar, "z": z, "logits": model.decode(z), **terms._asdict()}
        outputs |= {
            "loss": -terms.elbo.mean(),
            "loss_beta": -model.elbo(x, eps, BETA).elbo.mean(),
            "iwelbo": model.iwelbo(x, iw_eps),
        }
        growth = {f"growth/{i:02d}": channel_last(cells)[0] for i, cells in enumerate(model.grow(z[:1]))}
    return {name: tensor.numpy().copy() for name, tensor in outputs.items()} | growth


def main() -> None:
    """Compute and write the file."""
    generator = np.random.default_rng(SEED)
    model = DoublingVNCA(**SIZES).double()
    fill_parameters(model, generator)
    x, eps, iw_eps = draw_inputs(generator, SIZES, NUM_IMAGES, NUM_SAMPLES)

    arrays = {f"size/{name}": np.asarray(value) for name, value in SIZES.items()}
    arrays |= {"beta": np.asarray(BETA), "loss_scales": np.asarray(LOSS_SCALES)}
    arrays |= {"x": channel_last(x), "eps": eps.numpy(), "iw_eps": iw_eps.numpy()}
    arrays |= named_arrays("param", dict(model.named_parameters()))
    arrays |= forward_arrays(model, x, eps, iw_eps)

    arrays |= two_updates(model, x, eps)

    np.savez_compressed(PATH, allow_pickle=False, **arrays)
    print(f"wrote {PATH} ({PATH.stat().st_size:,} bytes), gradient norms {arrays['gradient_norms']}")


if __name__ == "__main__":
    main()
