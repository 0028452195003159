"""The convolutional VAE in plain PyTorch, as appendix A.6 lists its layers, to compare ours with.

Images are (n, c, h, w) floats here, as is PyTorch's habit. Run as a script it checks the paper's parameter count.
"""

from torch import Tensor, nn

from benchmarks.torch_vnca import VAE, build_encoder, count_parameters


def build_decoder(image_channels: int, width: int, depth: int, last_padding: int) -> nn.Sequential:
    """Appendix A.6: transposed 5x5 convolutions with ELU, `depth` that double sides and halve channels, and a last."""
    layers: list[nn.Module] = []
    for level in reversed(range(depth)):
        wide, narrow = width << (level + 1), width << level
        layers += [nn.ConvTranspose2d(wide, narrow, 5, stride=2, padding=2, output_padding=1), nn.ELU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, image_channels, 5, padding=last_padding))


class ConvVAE(VAE):
    """A VAE whose decoder is its encoder mirrored (appendix A.6)."""

    def __init__(
        self,
        *,
        image_size: int = 28,
        first_padding: int = 4,
        latent_size: int = 128,
        encoder_width: int = 32,
        encoder_depth: int = 4,
        image_channels: int = 1,
    ):
        super().__init__()
        self.latent_size = latent_size
        first_side = (image_size + 2 * first_padding - 4) >> encoder_depth
        self.grid = (encoder_width << encoder_depth, first_side, first_side)
        self.encoder = build_encoder(
            image_size, image_channels, encoder_width, encoder_depth, 2 * latent_size, first_padding
        )
        self.decoder_linear = nn.Linear(latent_size, self.grid[0] * first_side**2)
        self.decoder = build_decoder(image_channels, encoder_width, encoder_depth, first_padding)

    def decode(self, z: Tensor, recompute: bool = False) -> Tensor:
        """Bernoulli logits (n, h, w) of latents (n, latent)."""
        return self.decoder(self.decoder_linear(z).unflatten(1, self.grid))[:, 0]


if __name__ == "__main__":
    paper = ConvVAE()
    assert count_parameters(paper) == 9_495_809, count_parameters(paper)
    print(f"{count_parameters(paper):,} parameters, {count_parameters(paper.encoder):,} of them the encoder's")
