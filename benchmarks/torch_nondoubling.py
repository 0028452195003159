"""The non-doubling VNCA and its pool and damage training in plain PyTorch, from section 3.3 and appendix A.3.

Images and cells are (n, c, h, w) floats here, as is PyTorch's habit. Run as a script it checks the parameter count.
"""

import random
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from benchmarks.torch_vnca import (
    GRADIENT_NORM,
    VNCA,
    ElboTerms,
    build_encoder,
    count_parameters,
    log_likelihood,
    standard_normal,
)


class NonDoublingVNCA(VNCA):
    """A VAE whose decoder is a cellular automaton on the image's own grid, with z in every first cell (section 3.3)."""

    def __init__(
        self,
        *,
        image_size: int = 28,
        first_padding: int = 4,
        latent_size: int = 128,
        hidden_size: int = 128,
        num_steps: int = 48,
        encoder_width: int = 32,
        encoder_depth: int = 4,
        image_channels: int = 1,
    ):
        super().__init__()
        self.image_size = image_size
        self.latent_size = latent_size
        self.num_steps = num_steps
        self.encoder = build_encoder(
            image_size, image_channels, encoder_width, encoder_depth, 2 * latent_size, first_padding
        )
        last = nn.Conv2d(hidden_size, latent_size, 1, bias=False)
        nn.init.zeros_(last.weight)
        self.update_net = nn.Sequential(nn.Conv2d(latent_size, hidden_size, 3, padding=1), nn.ELU(), last)

    def seed(self, z: Tensor) -> Tensor:
        """The first cells (n, latent, h, w) of latents (n, latent): z in each."""
        return z[:, :, None, None].expand(-1, -1, self.image_size, self.image_size)

    def run(self, cells: Tensor, num_steps: int, recompute: bool = False) -> Tensor:
        """The cells after `num_steps` more steps."""
        for _ in range(num_steps):
            cells = self.step(cells, recompute)
        return cells

    def decode(self, z: Tensor, recompute: bool = False) -> Tensor:
        """Bernoulli logits (n, h, w) of latents (n, latent): channel 0 of the last cells."""
        return self.run(self.seed(z), self.num_steps, recompute)[:, 0]


class PoolState(NamedTuple):
    """An image (c, h, w) and the cells (latent, h, w) that the automaton left for it."""

    image: Tensor
    cells: Tensor


def damage(cells: Tensor, where: Tensor) -> Tensor:
    """Cells (n, c, h, w) with all their numbers zero where the mask (n, h, w) is set."""
    return cells.masked_fill(where[:, None], 0)


def random_square(height: int, width: int) -> Tensor:
    """A mask (h, w) of an h/2 x w/2 square, anywhere that it fits."""
    tall, wide = height // 2, width // 2
    top, left = random.randint(0, height - tall), random.randint(0, width - wide)  # both ends included
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top : top + tall, left : left + wide] = True
    return mask


def damage_half(cells: Tensor) -> Tensor:
    """`damage_half` of appendix A.3: a random square of the first half of the states; their order is random already."""
    num_damaged, (height, width) = len(cells) // 2, cells.shape[2:]
    squares = torch.stack([random_square(height, width) for _ in range(num_damaged)])
    return torch.cat([damage(cells[:num_damaged], squares), cells[num_damaged:]])


def pool_elbo(
    model: NonDoublingVNCA, x: Tensor, eps: Tensor, start: Tensor | None, num_steps: int, recompute: bool = False
) -> tuple[ElboTerms, Tensor]:
    """The ELBO terms, (n,) nats, and the last cells, where the last images of x go on from the cells `start`."""
    q = model.posterior(x)
    cells = model.seed(q.mean + q.stddev * eps)
    if start is not None:
        cells = torch.cat([cells[: len(x) - len(start)], start.detach()])
    cells = model.run(cells, num_steps, recompute)
    log_px = log_likelihood(cells[:, 0], x)
    kl = kl_divergence(q, standard_normal(q)).sum(dim=1)
    return ElboTerms(log_px - kl, log_px, kl), cells


def pool_step(
    model: NonDoublingVNCA,
    optimizer: torch.optim.Optimizer,
    pool: list[PoolState],
    x: Tensor,
    *,
    pool_size: int,
    num_steps: int,
    recompute: bool,
) -> float:
    """One update of appendix A.3 on the images `x`, which also changes `pool`; returns the loss in nats.

    The last half of `x` gives way to the first states of the pool, once it has more than that.
    """
    num_pooled, start = len(x) // 2, None
    if len(pool) > num_pooled:
        drawn = pool[:num_pooled]
        x = torch.cat([x[: len(x) - num_pooled], torch.stack([state.image for state in drawn])])
        start = damage_half(torch.stack([state.cells for state in drawn]))
    eps = torch.randn(len(x), model.latent_size, dtype=x.dtype)
    optimizer.zero_grad(set_to_none=True)
    terms, cells = pool_elbo(model, x, eps, start, num_steps, recompute)
    loss = -terms.elbo.mean()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
    optimizer.step()
    # A state of its own is a copy: a part of the batch's tensor would keep all of that in memory.
    pool += [PoolState(image.clone(), state.clone()) for image, state in zip(x, cells.detach(), strict=True)]
    random.shuffle(pool)
    del pool[pool_size:]
    return loss.item()


if __name__ == "__main__":
    paper = NonDoublingVNCA()
    assert count_parameters(paper) == 5_042_304, count_parameters(paper)
    assert count_parameters(paper.update_net) == 163_968, count_parameters(paper.update_net)
    print(
        f"{count_parameters(paper):,} parameters, {count_parameters(paper.update_net):,} of them the update network's"
    )
