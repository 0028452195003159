"""Arrays to pictures (PNG, GIF): sheets of images drawn as exact pixels, and curves. Calls no model.

Images are floats in [0, 1], channel-last with 1 or 3 channels. A sheet is enlarged by a whole factor (nearest
neighbour) to about 1000 pixels of width. A picture gets its name only once it is complete.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num, Shaped, UInt8
from PIL import Image

from vnca_jax import paths, writing
from vnca_jax.errors import InputError

Images = Float[np.ndarray, "n h w c"]
Points = Float[np.ndarray, "n 2"]
Picture = UInt8[np.ndarray, "_ _ 3"]

WIDTH = 1000  # pixels, what the tiles of a sheet come to side by side, as near as a whole factor gets
MARGIN = 12  # pixels of page around a sheet
PAGE, LINE = 255, 192  # grey levels of the page and of the lines between tiles
BLUE, RED = np.array([0.1, 0.3, 0.7]), np.array([0.7, 0.1, 0.15])  # of the values -1 and 1
FRAME_MS, LAST_FRAME_MS = 120, 2000  # a GIF counts in hundredths of a second: 8.3 frames a second


def tile(images: Images, columns: int, *, separator: int = 3) -> Picture:
    """Images row by row, each framed by lines of `separator` pixels that neighbours share; empty places are page."""
    n, h, w, _ = images.shape
    high, wide = math.ceil(n / columns) * (h + separator) + separator, columns * (w + separator) + separator
    sheet = np.full((high, wide, 3), PAGE, np.uint8)
    for i, image in enumerate(_to_uint8(images)):
        y, x = i // columns * (h + separator), i % columns * (w + separator)
        sheet[y : y + h + 2 * separator, x : x + w + 2 * separator] = LINE
        sheet[y + separator : y + separator + h, x + separator : x + separator + w] = image
    return sheet


def save_png(path: Path, image: Picture, *, scale: int = 1) -> None:
    """Write `image`, enlarged `scale` times; `InputError` where that cannot be done."""
    _save(path, Image.fromarray(enlarge(image[None], scale)[0]), format="PNG")


def reconstructions(path: Path, images: Images, means: Images) -> None:
    """Fig. 3, left: originals above their reconstructions, in as many pairs of rows as it takes."""
    columns = _columns(2 * len(images), len(images))
    scale = _scale(columns * images.shape[2])
    pairs = []
    for start in range(0, len(images), columns):
        pair = [enlarge(rows[start : start + columns], scale) for rows in (images, means)]
        pairs.append(tile(np.concatenate(pair), len(pair[0])))
    save_png(path, _page(pairs))


def samples(path: Path, images: Images) -> None:
    """Fig. 3, right: one sheet, as near to a square as full rows allow."""
    columns = _columns(len(images), len(images))
    save_png(path, _page([tile(enlarge(images, _scale(columns * images.shape[2])), columns)]))


def rows(path: Path, images: Sequence[Images]) -> None:
    """Fig. 9, left: rows of as many images each, one under the other."""
    scale = _scale(len(images[0]) * images[0].shape[2])
    save_png(path, _page([tile(enlarge(np.concatenate(images), scale), len(images[0]))]))


def growth_sheet(path: Path, stages: Sequence[Float[np.ndarray, "_ _ _ c"]]) -> None:
    """Fig. 4: one growth, a row for each stage between doublings, a tile for each step, all drawn at the final size.

    `stages[i]` is (steps, h_i, w_i, c), where h_i and w_i divide the final ones by the same factor.
    """
    scale = _scale(max(len(stage) for stage in stages) * stages[-1].shape[2])
    save_png(path, _page([tile(enlarge(stage, scale * _left_to_grow(stage, stages)), len(stage)) for stage in stages]))


def growth_gif(path: Path, stages: Sequence[Float[np.ndarray, "_ n _ _ c"]]) -> None:
    """The growth of n samples side by side, a frame for each step, the last one held.

    `stages[i]` is (steps, n, h_i, w_i, c), where h_i and w_i divide the final ones by the same factor.
    """
    _, n, _, w, channels = stages[-1].shape
    scale = _scale(n * w)
    frames = []
    for stage in stages:
        for images in stage:
            frame = Image.fromarray(_page([tile(enlarge(images, scale * _left_to_grow(stage, stages)), n)]))
            frames.append(frame.convert("L") if channels == 1 else frame.quantize(256))
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    _save(path, frames[0], format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def curves(
    path: Path, series: dict[str, tuple[Num[np.ndarray, " _"], Num[np.ndarray, " _"]]], *, xlabel: str, ylabel: str
) -> None:
    """Lines `series[name] = (x, y)`; if the first tenth of them spans more than the rest, the y axis fits the rest."""
    figure = _figure(8.0, 4.5)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    for name, (x, y) in series.items():
        axes.plot(x, y, label=name, linewidth=1.5)
    later = np.concatenate([y[len(y) // 10 :] for _, y in series.values()])
    low, high = np.nanmin(later), np.nanmax(later)
    if axes.dataLim.height > 2 * (high - low) > 0:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9")
    if len(series) > 1:
        axes.legend(frameon=False)
    _save_figure(path, figure)


def scatter(path: Path, panels: dict[str, Points], labels: Int[np.ndarray, " n"]) -> None:
    """Fig. 5b and 5c: the same points in several planes side by side, `panels[title]`, coloured by label 0 to 9."""
    figure = _figure(5.0 * len(panels), 5.2)
    for i, (title, points) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1, title=title, xticks=[], yticks=[])
        axes.scatter(*points.T, c=_colours(labels), s=40_000 / max(len(points), 4000), linewidths=0)
    _label_legend(figure)
    _save_figure(path, figure)


def maps(path: Path, panels: dict[str, Float[np.ndarray, "h w"]], *, label: str) -> None:
    """Values on a grid as colours, one panel a title, on one scale that the colour bar with `label` shows."""
    figure = _figure(3.2 * len(panels) + 1, 3.6)
    every = np.concatenate([values.ravel() for values in panels.values()])
    for i, (title, values) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1, title=title, xticks=[], yticks=[])
        drawn = axes.imshow(values, vmin=every.min(), vmax=every.max(), cmap="viridis", interpolation="nearest")
    figure.colorbar(drawn, ax=figure.axes, label=label)
    _save_figure(path, figure)


def labelled_cells(
    path: Path, images: Images, labels: Int[np.ndarray, "rows n h w"], strengths: Float[np.ndarray, "rows n h w"]
) -> None:
    """A row of images, and below it rows of grids whose cells have their label's colour, paler where less certain."""
    rows, n, _, _ = labels.shape
    figure = _figure(1.1 * n, 1.1 * (rows + 1) + 0.6)
    tinted = 1 - strengths[..., None] * (1 - _colours(labels))
    for i, picture in enumerate(
        [*images.repeat(3 // images.shape[-1], axis=-1), *tinted.reshape(-1, *tinted.shape[2:])]
    ):
        axes = figure.add_subplot(rows + 1, n, i + 1, xticks=[], yticks=[])
        axes.imshow(picture, interpolation="nearest")
    _label_legend(figure)
    _save_figure(path, figure)


def diverging(values: Float[np.ndarray, "*n h w c"]) -> Float[np.ndarray, "*n h w c 3"]:
    """Values in [-1, 1] as colours from blue over white, at zero, to red."""
    towards = np.where(values[..., None] < 0, BLUE, RED)
    return 1 - np.abs(values)[..., None] * (1 - towards)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # here, as matplotlib takes more than a second to load

    return Figure(figsize=(width, height), dpi=125, layout="constrained")


def _colours(labels: Int[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 3"]:
    from matplotlib import colormaps

    return np.asarray(colormaps["tab10"].colors)[labels]  # pyright: ignore[reportAttributeAccessIssue]


def _label_legend(figure: Any) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=tuple(colour), label=str(i)) for i, colour in enumerate(_colours(np.arange(10)))]
    figure.legend(handles=patches, loc="outside lower center", ncols=10, frameon=False, handlelength=1)


def _save_figure(path: Path, figure: Any) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    save_png(path, np.array(canvas.buffer_rgba())[..., :3])


def _to_uint8(images: Images) -> UInt8[np.ndarray, "n h w c"]:
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"`images` has {images.shape[-1]} channels; a picture needs 1 or 3")
    if not np.all((images >= 0) & (images <= 1)):
        raise ValueError(f"`images` spans [{images.min()}, {images.max()}]; a picture needs values in [0, 1]")
    return np.rint(images * 255).astype(np.uint8)


def enlarge(images: Shaped[np.ndarray, "n h w *c"], factor: int) -> Shaped[np.ndarray, "n H W *c"]:
    """Each pixel as `factor` x `factor` of them."""
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def _scale(pixels: int) -> int:
    return max(1, round(WIDTH / pixels))


def _columns(tiles: int, images: int) -> int:
    """Columns for a nearly square sheet of `tiles`: the first from their root to twice that which divides `images`."""
    root = math.ceil(math.sqrt(tiles))
    return next((columns for columns in range(root, 2 * root + 1) if images % columns == 0), min(root, images))


def _left_to_grow(stage: Float[np.ndarray, "..."], stages: Sequence[Float[np.ndarray, "..."]]) -> int:
    (h, w), (final_h, final_w) = stage.shape[-3:-1], stages[-1].shape[-3:-1]
    if final_h % h or final_h // h * w != final_w:
        raise ValueError(f"a stage of {h}x{w} cells does not grow to {final_h}x{final_w} by a whole factor")
    return final_h // h


def _page(blocks: Sequence[Picture]) -> Picture:
    """Blocks under one another, half a margin apart, on a page with margins."""
    gap = MARGIN // 2
    wide = max(block.shape[1] for block in blocks) + 2 * MARGIN
    page = np.full((sum(len(block) + gap for block in blocks) - gap + 2 * MARGIN, wide, 3), PAGE, np.uint8)
    y = MARGIN
    for block in blocks:
        page[y : y + len(block), MARGIN : MARGIN + block.shape[1]] = block
        y += len(block) + gap
    return page


def _save(path: Path, picture: Image.Image, **options: Any) -> None:
    try:
        with writing.beside(path) as part:
            picture.save(part, **options)
    except OSError as error:
        room = "make room or " if error.errno in paths.FULL else ""
        raise InputError(
            f"the picture {path} could not be written ({paths.reason(error)}); {room}choose another folder"
        ) from error
