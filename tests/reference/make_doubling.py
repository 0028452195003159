"""Makes doubling.npz: what the PyTorch model of benchmarks/torch_vnca.py computes in float64 at a small size.

Remake it from the root of the repository with `python -m tests.reference.make_doubling` (made with torch 2.13.0, CPU).
The numbers that go in (parameters, images, noise) come from NumPy's generator, so another torch changes no more than
rounding. Images, logits and cells are stored channel-last; parameters and gradients as PyTorch holds them.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.torch_vnca import GRADIENT_NORM, VNCA, DoublingVNCA, build_optimizer

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


def fill_parameters(model: VNCA, generator: np.random.Generator) -> None:
    """Draw every parameter, zero-initialised ones included, at a scale that keeps the automaton's states of order 1."""
    last_layer = len(model.update_net) - 1
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            gain = 0.1 if name.startswith(f"update_net.{last_layer}.") else 1.0
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 10
            values = generator.standard_normal(tuple(parameter.shape)) * gain / np.sqrt(fan_in)
            parameter.copy_(torch.from_numpy(values))


def named_arrays(prefix: str, tensors: dict[str, Tensor]) -> dict[str, NDArray[np.float64]]:
    """Copies of the tensors under `prefix/name`."""
    return {f"{prefix}/{name}": tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def channel_last(cells: Tensor) -> NDArray[np.float64]:
    """(n, c, h, w) to (n, h, w, c)."""
    return cells.detach().permute(0, 2, 3, 1).numpy().copy()


def update(model: DoublingVNCA, optimizer: torch.optim.Optimizer, x: Tensor, eps: Tensor, scale: float) -> float:
    """One update on `scale` times the mean negative ELBO; returns the gradient's norm before clipping."""
    optimizer.zero_grad()
    (-scale * model.elbo(x, eps).elbo.mean()).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
    optimizer.step()
    return norm.item()


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
    images = generator.integers(0, 2, (NUM_IMAGES, 1, SIZES["image_size"], SIZES["image_size"])).astype(np.float64)
    x = torch.from_numpy(images)
    eps = torch.from_numpy(generator.standard_normal((NUM_IMAGES, SIZES["latent_size"])))
    iw_eps = torch.from_numpy(generator.standard_normal((NUM_SAMPLES, NUM_IMAGES, SIZES["latent_size"])))

    arrays = {f"size/{name}": np.asarray(value) for name, value in SIZES.items()}
    arrays |= {"beta": np.asarray(BETA), "loss_scales": np.asarray(LOSS_SCALES)}
    arrays |= {"x": channel_last(x), "eps": eps.numpy(), "iw_eps": iw_eps.numpy()}
    arrays |= named_arrays("param", dict(model.named_parameters()))
    arrays |= forward_arrays(model, x, eps, iw_eps)

    (-model.elbo(x, eps).elbo.mean()).backward()
    arrays |= named_arrays("grad", {name: p.grad for name, p in model.named_parameters() if p.grad is not None})

    optimizer = build_optimizer(model)
    norms = []
    for prefix, scale in zip(("updated", "updated_twice"), LOSS_SCALES, strict=True):
        norms.append(update(model, optimizer, x, eps, scale))
        arrays |= named_arrays(prefix, dict(model.named_parameters()))
    assert norms[0] > 1.5 * GRADIENT_NORM and norms[1] < 0.5 * GRADIENT_NORM, norms
    arrays["gradient_norms"] = np.asarray(norms)

    np.savez_compressed(PATH, allow_pickle=False, **arrays)
    print(f"wrote {PATH} ({PATH.stat().st_size:,} bytes), gradient norms {norms}")


if __name__ == "__main__":
    main()
