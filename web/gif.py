"""Frames to the animation of the README: `python web/gif.py --frames FOLDER --out docs/page.gif`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

FRAME_MS = 110


@dataclass(frozen=True)
class Options:
    """Writes an animated GIF from the PNG files of a folder, in the order of their names."""

    frames: Path
    """The folder with the frames."""
    out: Path
    """The GIF to write."""
    width: int = 760
    """Its width in pixels."""
    colours: int = 128
    """Colours of the palette, which all frames share."""


def sample(pictures: list[Image.Image]) -> np.ndarray:
    """The colours of all frames, each as often as the root of its count, so that rare ones have their place too."""
    pixels = np.concatenate([np.asarray(picture).reshape(-1, 3)[::7] for picture in pictures])
    colours, counts = np.unique(pixels // 4 * 4, axis=0, return_counts=True)
    return colours.repeat(np.ceil(np.sqrt(counts)).astype(int), axis=0)[None]


def main(options: Options) -> None:
    """Scales the frames and gives them one palette, so that what does not change costs no bytes."""
    pictures = [Image.open(path).convert("RGB") for path in sorted(options.frames.glob("*.png"))]
    height = round(options.width * pictures[0].height / pictures[0].width)
    pictures = [picture.resize((options.width, height), Image.Resampling.LANCZOS) for picture in pictures]
    palette = Image.fromarray(sample(pictures)).quantize(options.colours, dither=Image.Dither.NONE)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(
        options.out, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, optimize=True, disposal=1
    )
    print(f"{options.out}: {len(frames)} frames of {options.width}x{height}, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python web/gif.py", description=Options.__doc__))
