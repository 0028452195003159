"""Makes colour_conv_vae.npz: a small model of the kind of appendix A.1, with colours, in PyTorch's float64.

Remake it from the root of the repository with `python -m tests.reference.make_colour_conv_vae` (made with torch 2.13.0,
CPU). The numbers that go in come from NumPy's generator, and everything is stored as in doubling.npz.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.torch_baseline import build_decoder
from benchmarks.torch_vnca import build_encoder
from tests.reference.make_doubling import channel_last, fill_parameters, named_arrays

PATH = Path(__file__).with_name("colour_conv_vae.npz")
SEED = 20220607
# As in the paper the decoder is one convolution deeper than the encoder, and an ELU follows its dense layer.
SIZES = {"image_size": 8, "latent_size": 5, "encoder_width": 3, "encoder_depth": 1, "decoder_depth": 2}
NUM_IMAGES, NUM_MIXTURES = 3, 2


class ConvVAE(nn.Module):
    """Appendix A.1: an encoder, a dense layer with ELU to a 2x2 grid, and transposed convolutions."""

    def __init__(self):
        super().__init__()
        width, depth, latent_size = SIZES["encoder_width"], SIZES["decoder_depth"], SIZES["latent_size"]
        self.encoder = build_encoder(SIZES["image_size"], 3, width, SIZES["encoder_depth"], 2 * latent_size)
        self.decoder_linear = nn.Sequential(nn.Linear(latent_size, (width << depth) * 4), nn.ELU())
        self.decoder = build_decoder(10 * NUM_MIXTURES, width, depth, 2)

    def decode(self, z: Tensor) -> Tensor:
        """The parameters of the colours, (n, 10 L, h, w)."""
        return self.decoder(self.decoder_linear(z).unflatten(1, (-1, 2, 2)))


def log_likelihood(parameters: Tensor, levels: Tensor) -> Tensor:
    """log p (n,) of levels (n, 3, h, w): of each component, sigmoids at both ends of a level, less one another."""
    logits = parameters[:, :NUM_MIXTURES].log_softmax(dim=1)
    colours = levels / 127.5 - 1
    of_components = []
    for k in range(NUM_MIXTURES):
        start = NUM_MIXTURES + 9 * k
        mean, log_scale, coefficient = (parameters[:, start + i : start + i + 3] for i in (0, 3, 6))
        a, b, c = coefficient.tanh().unbind(dim=1)
        red, green, _ = colours.unbind(dim=1)
        mean = mean + torch.stack([torch.zeros_like(red), a * red, b * red + c * green], dim=1)
        scale = log_scale.clamp(min=-7).exp()
        upper = torch.where(levels == 255, torch.inf, (colours + 1 / 255 - mean) / scale).sigmoid()
        lower = torch.where(levels == 0, -torch.inf, (colours - 1 / 255 - mean) / scale).sigmoid()
        of_components.append(logits[:, k] + (upper - lower).log().sum(dim=1))
    return torch.stack(of_components).logsumexp(dim=0).sum(dim=(1, 2))


def main() -> None:
    """Compute and write the file."""
    generator = np.random.default_rng(SEED)
    model = ConvVAE().double()
    fill_parameters(model, generator)
    size, latent_size = SIZES["image_size"], SIZES["latent_size"]
    levels = generator.integers(0, 256, (NUM_IMAGES, 3, size, size))
    levels[0, :, 0] = np.arange(3 * size).reshape(3, size) % 2 * 255  # both ends of the levels, in all colours
    levels = torch.from_numpy(levels.astype(np.float64))
    eps = torch.from_numpy(generator.standard_normal((NUM_IMAGES, latent_size)))

    mean, logvar = model.encoder(levels / 255).chunk(2, dim=1)
    z = mean + (logvar / 2).exp() * eps
    parameters = model.decode(z)
    log_px = log_likelihood(parameters, levels)
    kl = (mean**2 + logvar.exp() - 1 - logvar).sum(dim=1) / 2
    (kl - log_px).mean().backward()

    sizes = SIZES | {"image_channels": 3, "num_mixtures": NUM_MIXTURES}
    arrays: dict[str, NDArray[np.generic]] = {f"size/{name}": np.asarray(value) for name, value in sizes.items()}
    arrays |= {"levels": channel_last(levels), "eps": eps.numpy(), "z": z.detach().numpy()}
    arrays |= named_arrays("param", dict(model.named_parameters()))
    arrays |= named_arrays("grad", {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    arrays |= {"parameters": channel_last(parameters)}
    outputs = {"mean": mean, "logvar": logvar, "log_px": log_px, "kl": kl}
    arrays |= {name: tensor.detach().numpy().copy() for name, tensor in outputs.items()}
    np.savez_compressed(PATH, allow_pickle=False, **arrays)
    print(f"wrote {PATH} ({PATH.stat().st_size:,} bytes), log p(x|z) {log_px.tolist()}")


if __name__ == "__main__":
    main()
