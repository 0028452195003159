"""The doubling VNCA in plain PyTorch, written from appendix A.5 and sections 2-3 of the paper, to compare ours with.

`VNCA` is what it shares with the non-doubling one, benchmarks/torch_nondoubling.py, and `VAE` with the convolutional
one, benchmarks/torch_baseline.py. Images are (n, c, h, w) floats, as is PyTorch's habit. Run as a script it checks the
parameter counts of the paper.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.utils.checkpoint import checkpoint

LEARNING_RATE = 1e-4  # section 3
GRADIENT_NORM = 10.0  # section 3
SEED_SIDE = 2  # section 2: the first grid is 2 x 2


class ElboTerms(NamedTuple):
    """The bound and its two terms, each (n,), in nats."""

    elbo: Tensor
    log_px: Tensor
    kl: Tensor


class Residual(nn.Module):
    """x + delegate(x)."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.delegate = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.delegate(x)


def build_encoder(
    image_size: int, image_channels: int, width: int, depth: int, outputs: int, first_padding: int = 2
) -> nn.Sequential:
    """Appendix A.5: 5x5 convolutions, the first of stride 1, then `depth` of stride 2 that double the channels, ELU."""
    layers: list[nn.Module] = [nn.Conv2d(image_channels, width, 5, padding=first_padding), nn.ELU()]
    for level in range(depth):
        layers += [nn.Conv2d(width << level, width << (level + 1), 5, stride=2, padding=2), nn.ELU()]
    side = math.ceil((image_size + 2 * first_padding - 4) / 2**depth)
    features = (width << depth) * side**2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, outputs))


def build_update_net(cell_size: int, hidden_size: int, num_blocks: int) -> nn.Sequential:
    """Appendix A.5: 3x3, residual blocks of two 1x1 with ELU between, and a last 1x1 that starts at zero."""
    blocks = [
        Residual(nn.Conv2d(hidden_size, hidden_size, 1), nn.ELU(), nn.Conv2d(hidden_size, hidden_size, 1))
        for _ in range(num_blocks)
    ]
    last = nn.Conv2d(hidden_size, cell_size, 1)
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return nn.Sequential(nn.Conv2d(cell_size, hidden_size, 3, padding=1), *blocks, last)


class VAE(nn.Module, ABC):
    """A VAE; subclasses build its networks and say how it decodes."""

    latent_size: int
    encoder: nn.Module

    @abstractmethod
    def decode(self, z: Tensor, recompute: bool = False) -> Tensor:
        """Bernoulli logits (n, h, w) of latents (n, latent)."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (n, latent), of images (n, c, h, w)."""
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        return mean, logvar

    def elbo(self, x: Tensor, eps: Tensor, beta: float = 1.0, recompute: bool = False) -> ElboTerms:
        """log p(x|z) - beta KL(q(z|x) || p(z)) for z = mean + std * eps, eps (n, latent), the KL in closed form."""
        q = self.posterior(x)
        log_px = log_likelihood(self.decode(q.mean + q.stddev * eps, recompute), x)
        kl = kl_divergence(q, standard_normal(q)).sum(dim=1)
        return ElboTerms(log_px - beta * kl, log_px, kl)

    def iwelbo(self, x: Tensor, eps: Tensor, chunk_size: int | None = None) -> Tensor:
        """log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x), (n,) nats, for eps (K, n, latent); `chunk_size` samples at once."""
        q = self.posterior(x)
        prior = standard_normal(q)
        log_weights = []
        for chunk in eps.split(chunk_size or len(eps)):
            z = q.mean + q.stddev * chunk
            logits = self.decode(z.flatten(0, 1)).unflatten(0, chunk.shape[:2])
            log_weights.append(log_likelihood(logits, x) + (prior.log_prob(z) - q.log_prob(z)).sum(dim=-1))
        return torch.cat(log_weights).logsumexp(dim=0) - torch.tensor(float(len(eps)), dtype=x.dtype).log()

    def posterior(self, x: Tensor) -> Normal:
        """q(z|x), a diagonal Gaussian."""
        mean, logvar = self.encode(x)
        return Normal(mean, (logvar / 2).exp(), validate_args=False)


class VNCA(VAE):
    """A VAE whose decoder is a cellular automaton."""

    update_net: nn.Sequential

    def step(self, cells: Tensor, recompute: bool = False) -> Tensor:
        """One step of equation (1): every cell adds what the update network makes of its 3x3 neighbourhood.

        With `recompute`, a step keeps only its input for the backward pass and runs again there.
        """
        if recompute:
            return checkpoint(self.step, cells, use_reentrant=False, preserve_rng_state=False)
        return cells + self.update_net(cells)


class DoublingVNCA(VNCA):
    """A VAE whose decoder is a cellular automaton that doubles its grid after every M steps (section 2, Fig. 2)."""

    def __init__(
        self,
        *,
        image_size: int = 32,
        latent_size: int = 256,
        hidden_size: int = 256,
        steps_per_doubling: int = 8,
        encoder_width: int = 32,
        encoder_depth: int = 4,
        num_blocks: int = 4,
        image_channels: int = 1,
    ):
        super().__init__()
        self.num_doublings = (image_size // SEED_SIDE).bit_length() - 1
        if image_size != SEED_SIDE << self.num_doublings or image_size % (1 << encoder_depth):
            raise ValueError(f"image_size {image_size} must be a power of two, at least 2 and 2**encoder_depth.")
        self.latent_size = latent_size
        self.steps_per_doubling = steps_per_doubling
        self.encoder = build_encoder(image_size, image_channels, encoder_width, encoder_depth, 2 * latent_size)
        self.update_net = build_update_net(latent_size, hidden_size, num_blocks)

    def grow(self, z: Tensor, recompute: bool = False) -> Iterator[Tensor]:
        """Yield the seed, then the cells (n, latent, h, w) after every step and doubling, in order (Fig. 4)."""
        cells = z[:, :, None, None].expand(-1, -1, SEED_SIDE, SEED_SIDE)
        yield cells
        for stage in range(self.num_doublings + 1):
            if stage > 0:
                cells = nn.functional.interpolate(cells, scale_factor=2, mode="nearest")
                yield cells
            for _ in range(self.steps_per_doubling):
                cells = self.step(cells, recompute)
                yield cells

    def decode(self, z: Tensor, recompute: bool = False) -> Tensor:
        """Bernoulli logits (n, h, w) of latents (n, latent): channel 0 of the last cells."""
        [last] = deque(self.grow(z, recompute), maxlen=1)
        return last[:, 0]


def standard_normal(like: Normal) -> Normal:
    """p(z) = N(0, I) in the shape of `like`."""
    return Normal(torch.zeros_like(like.mean), torch.ones_like(like.mean), validate_args=False)


def log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """Sum over pixels of log Bernoulli(x; sigmoid(logits)): logits (..., n, h, w), x (n, 1, h, w), result (..., n)."""
    targets = x[:, 0].expand_as(logits)
    return -nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=(-2, -1))


def build_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Adam at the learning rate of section 3."""
    return torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)


def train_step(model: VAE, optimizer: torch.optim.Optimizer, x: Tensor, recompute: bool) -> float:
    """One update of section 3 on the batch mean of the one-sample ELBO; returns that loss in nats."""
    eps = torch.randn(len(x), model.latent_size, dtype=x.dtype)
    optimizer.zero_grad(set_to_none=True)
    loss = -model.elbo(x, eps, recompute=recompute).elbo.mean()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
    optimizer.step()
    return loss.item()


def count_parameters(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(p.numel() for p in module.parameters())


if __name__ == "__main__":
    paper = DoublingVNCA()
    assert count_parameters(paper) == 6_585_088, count_parameters(paper)
    assert count_parameters(paper.update_net) == 1_182_208, count_parameters(paper.update_net)
    print(
        f"{count_parameters(paper):,} parameters, {count_parameters(paper.update_net):,} of them the update network's"
    )
