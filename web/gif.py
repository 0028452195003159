"""Frames to the animation of the README: `python web/gif.py --frames FOLDER --out docs/page.gif`."""

from dataclasses import dataclass
from pathlib import Path

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
    colours: int = 48
    """Colours of the palette, which all frames share."""


def main(options: Options) -> None:
    """Scales the frames, gives them the palette of the first grown one, and keeps what changes from frame to frame."""
    pictures = [Image.open(path).convert("RGB") for path in sorted(options.frames.glob("*.png"))]
    height = round(options.width * pictures[0].height / pictures[0].width)
    pictures = [picture.resize((options.width, height), Image.Resampling.LANCZOS) for picture in pictures]
    sheet = Image.new("RGB", (options.width, height * 3))
    for i in range(3):  # the palette has the colours of the start, of a wound and of the end
        sheet.paste(pictures[(len(pictures) - 1) * i // 2], (0, height * i))
    palette = sheet.quantize(options.colours, dither=Image.Dither.NONE)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(
        options.out, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, optimize=True, disposal=1
    )
    print(f"{options.out}: {len(frames)} frames of {options.width}x{height}, {options.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python web/gif.py", description=Options.__doc__))
