"""Pictures are read back and compared pixel by pixel."""

import errno
from itertools import groupby

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image, ImageSequence

from vnca_jax import figures
from vnca_jax.errors import InputError

LINE, PAGE = figures.LINE, figures.PAGE


def flat(values, size=4, channels=1):
    """One image of one grey level (of 255) for each value: (n, size, size, channels)."""
    return (
        np.ones((len(values), size, size, channels), np.float32)
        * np.reshape(values, (-1, 1, 1, 1)).astype(np.float32)
        / 255
    )


def cells(picture):
    """The grey levels that a picture shows in reading order, one list for each row of tiles, without lines and page."""
    rows = []
    for line in np.asarray(picture)[..., 0]:
        levels = [int(level) for level, _ in groupby(line) if level not in (LINE, PAGE)]
        if levels and (not rows or levels != rows[-1]):
            rows.append(levels)
    return rows


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_tile_against_a_written_out_sheet():
    images = np.array([0, 1, 0.5], np.float32).reshape(3, 1, 1, 1)
    sheet = figures.tile(images, 2, separator=1)
    o = LINE
    expected = [
        [o, o, o, o, o],
        [o, 0, o, 255, o],
        [o, o, o, o, o],
        [o, 128, o, 255, 255],
        [o, o, o, 255, 255],
    ]
    np.testing.assert_array_equal(sheet, np.repeat(np.array(expected, np.uint8)[..., None], 3, axis=2))


def test_tile_keeps_the_order_of_pixels_and_colours():
    image = np.arange(18, dtype=np.float64).reshape(1, 2, 3, 3) / 255
    np.testing.assert_array_equal(figures.tile(image, 1, separator=0), np.arange(18).reshape(2, 3, 3))


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan, np.inf])
def test_values_outside_the_unit_interval_are_refused(bad):
    images = np.array([0.5, bad], np.float32).reshape(2, 1, 1, 1)
    with pytest.raises(ValueError, match=r"a picture needs values in \[0, 1\]"):
        figures.tile(images, 2)


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match="`images` has 2 channels; a picture needs 1 or 3"):
        figures.tile(np.zeros((1, 4, 4, 2), np.float32), 1)


def test_save_png_enlarges_by_nearest_neighbour_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "picture.png"
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    figures.save_png(path, image[:1])
    figures.save_png(path, image, scale=3)
    np.testing.assert_array_equal(read(path), np.kron(image, np.ones((3, 3, 1), np.uint8)))
    assert [each.name for each in path.parent.iterdir()] == ["picture.png"]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    old = np.full((2, 2, 3), 7, np.uint8)
    figures.save_png(path, old)

    def fill_the_disk(self, target, **options):
        target.write_bytes(b"\x89PNG")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fill_the_disk)
    with pytest.raises(InputError, match=r"picture\.png could not be written \(No space left on device\); make room"):
        figures.save_png(path, old + 1)
    monkeypatch.undo()
    np.testing.assert_array_equal(read(path), old)
    assert [each.name for each in tmp_path.iterdir()] == ["picture.png"]


def test_a_file_in_the_place_of_the_folder_is_a_sentence(tmp_path):
    (tmp_path / "figures").write_text("")
    with pytest.raises(InputError, match=r"samples\.png could not be written \((File exists|Not a directory)\)"):
        figures.samples(tmp_path / "figures" / "samples.png", flat([0]))


@pytest.mark.parametrize(
    ("n", "rows"),
    [
        (3, [range(3)]),
        (16, [range(8), range(8, 16)]),
        (11, [range(5), range(5, 10), range(10, 11)]),
    ],
)
def test_reconstructions_stand_under_their_originals(tmp_path, n, rows):
    figures.reconstructions(tmp_path / "r.png", flat(range(n)), flat(range(100, 100 + n)))
    expected = [[i + shift for i in row] for row in rows for shift in (0, 100)]
    assert cells(read(tmp_path / "r.png")) == expected


def test_rows_stand_under_one_another(tmp_path):
    figures.rows(tmp_path / "r.png", [flat([1, 2, 3]), flat([4, 5, 6]), flat([7, 8, 9])])
    assert cells(read(tmp_path / "r.png")) == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (6, 3), (7, 3), (12, 4), (32, 8), (64, 8), (100, 10)])
def test_samples_fill_a_sheet_in_reading_order(tmp_path, n, columns):
    figures.samples(tmp_path / "s.png", flat(range(n)))
    assert cells(read(tmp_path / "s.png")) == [list(range(n))[i : i + columns] for i in range(0, n, columns)]


@pytest.mark.parametrize(("n", "size"), [(64, 8), (16, 8), (64, 28), (100, 32), (36, 64)])
def test_sheets_are_about_a_thousand_pixels_wide(tmp_path, n, size):
    figures.samples(tmp_path / "s.png", flat(np.arange(n), size))
    assert 800 <= read(tmp_path / "s.png").shape[1] <= 1200


def test_growth_sheet_has_a_row_for_each_stage_and_tiles_of_one_size(tmp_path):
    doubled = np.array([[30, 40], [50, 60]], np.float32).reshape(1, 2, 2, 1) / 255
    stages = [flat([10, 20], size=1), np.concatenate([doubled, doubled + 100 / 255, flat([7], size=2)])]
    figures.growth_sheet(tmp_path / "g.png", stages)
    picture = read(tmp_path / "g.png")
    assert cells(picture) == [[10, 20], [30, 40, 130, 140, 7], [50, 60, 150, 160, 7]]
    pixels = {level: int((picture == level).all(axis=2).sum()) for level in (10, 20, 30, 60, 140, 7)}
    assert pixels[10] == pixels[20] == pixels[7] == 4 * pixels[30] == 4 * pixels[60] == 4 * pixels[140]
    assert tuple(picture[picture.shape[0] // 4, -20]) == (PAGE, PAGE, PAGE)  # where the shorter row has ended


def test_a_stage_that_does_not_grow_by_a_whole_factor_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a stage of 3x3 cells does not grow to 8x8 by a whole factor"):
        figures.growth_sheet(tmp_path / "g.png", [flat([1], size=3), flat([1], size=8)])


def frames(path):
    """The frames of a GIF as RGB arrays and how long each stands, in ms."""
    with Image.open(path) as gif:
        assert gif.info["loop"] == 0  # for ever
        shown = [(np.asarray(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)]
    pictures, durations = zip(*shown, strict=True)
    return pictures, list(durations)


def test_growth_gif_shows_every_step_at_the_final_size_and_holds_the_last(tmp_path):
    stages = [
        flat([10, 20, 30, 40], size=1).reshape(2, 2, 1, 1, 1),
        flat([50, 60, 70, 80], size=2).reshape(2, 2, 2, 2, 1),
    ]
    figures.growth_gif(tmp_path / "g.gif", stages)
    pictures, durations = frames(tmp_path / "g.gif")
    assert [cells(picture) for picture in pictures] == [[[10, 20]], [[30, 40]], [[50, 60]], [[70, 80]]]
    assert len({int((picture == picture[len(picture) // 2, 40]).all(axis=2).sum()) for picture in pictures}) == 1
    assert durations == [120, 120, 120, 2000]


def test_growth_gif_in_colour(tmp_path):
    steps = np.random.default_rng(0).integers(0, 256, (3, 1, 4, 4, 3)).astype(np.uint8)
    figures.growth_gif(tmp_path / "g.gif", [steps.astype(np.float32) / 255])
    start = figures.MARGIN + 3  # page, then the line around the tile
    for picture, (step,) in zip(frames(tmp_path / "g.gif")[0], steps, strict=True):
        inside = picture[start:-start, start:-start]
        cell = len(inside) // 4
        np.testing.assert_array_equal(inside, step.repeat(cell, axis=0).repeat(cell, axis=1))


def where(picture, colour):
    """Rows and columns of the pixels of nearly this colour (lines are smoothed)."""
    return np.nonzero((abs(picture.astype(int) - colour) < 40).all(axis=2))


BLUE, ORANGE = (31, 119, 180), (255, 127, 14)


def test_a_curve_rises_where_its_numbers_rise(tmp_path):
    figures.curves(tmp_path / "c.png", {"a": (np.arange(50), np.arange(50.0))}, xlabel="updates", ylabel="nats")
    picture = read(tmp_path / "c.png")
    y, x = where(picture, BLUE)
    assert np.corrcoef(x, y)[0, 1] < -0.999  # a straight line; rows count downwards
    assert np.ptp(x) > 0.8 * picture.shape[1]
    assert np.ptp(y) > 0.7 * picture.shape[0]


def test_the_steep_start_and_missing_values_do_not_flatten_a_curve(tmp_path):
    x = np.arange(1000)
    loss = np.where(x < 10, 1e6, 100 - 0.01 * x)
    loss[500:600] = np.nan
    figures.curves(tmp_path / "c.png", {"train": (x, loss)}, xlabel="updates", ylabel="nats")
    picture = read(tmp_path / "c.png")
    y, x = where(picture, BLUE)
    settled = y[x > 0.2 * picture.shape[1]]
    assert np.ptp(settled) > 0.6 * picture.shape[0]


def test_a_legend_stands_where_there_is_more_than_one_curve(tmp_path):
    line = (np.array([0, 1]), np.array([0.0, 1.0]))
    low = (np.array([0, 1]), np.array([0.0, 0.1]))
    figures.curves(tmp_path / "one.png", {"train": low}, xlabel="x", ylabel="y")
    figures.curves(tmp_path / "two.png", {"train": line, "test": low}, xlabel="x", ylabel="y")
    assert len(where(read(tmp_path / "one.png"), ORANGE)[0]) == 0
    y, _ = where(read(tmp_path / "two.png"), ORANGE)
    middle = read(tmp_path / "two.png").shape[0] // 2
    assert (y < middle).any()  # the legend
    assert (y > middle).any()  # the low curve


def palette(*digits):
    return [np.rint(255 * np.asarray(colormaps["tab10"](digit)[:3])).astype(int) for digit in digits]


def test_points_stand_where_they_are_in_their_labels_colours(tmp_path):
    points = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    figures.scatter(tmp_path / "s.png", {"left": points, "right": points[:, ::-1].copy()}, np.array([2, 3, 4]))
    picture = read(tmp_path / "s.png")
    panels, half = picture[: int(0.9 * len(picture))], picture.shape[1] // 2  # without the legend
    places = {}
    for digit, colour in zip((2, 3, 4), palette(2, 3, 4), strict=True):
        y, x = where(panels, colour)
        places[digit] = [(y[side].mean(), x[side].mean()) for side in (x < half, x >= half)]
    for side in (0, 1):  # the first point is lower left, the second upper right in both
        assert places[2][side][0] > places[3][side][0] and places[2][side][1] < places[3][side][1]
    assert places[4][0][0] < places[2][0][0] and abs(places[4][0][1] - places[2][0][1]) < 5  # above the first
    assert places[4][1][1] > places[2][1][1] and abs(places[4][1][0] - places[2][1][0]) < 5  # and here beside it


def test_maps_share_one_scale(tmp_path):
    values = np.array([[0.0, 0.5], [0.5, 1.0]])
    figures.maps(tmp_path / "m.png", {"a": values, "b": np.full((2, 2), 0.5)}, label="accuracy")
    picture = read(tmp_path / "m.png")
    viridis = [np.rint(255 * np.asarray(colormaps["viridis"](v)[:3])).astype(int) for v in (0.0, 0.5, 1.0)]
    lowest, middle, highest = ((abs(picture - colour) <= 2).all(axis=2).sum() for colour in viridis)
    assert 0.8 < lowest / highest < 1.25
    assert 5 < middle / lowest < 7  # two cells of the first map and all four of the second


def test_cells_have_their_labels_colours_and_pale_with_doubt(tmp_path):
    images = flat([0, 255], size=2)
    labels = np.array([[[[1, 1], [1, 1]], [[5, 5], [5, 5]]]])
    strengths = np.array([[[[1.0, 1.0], [1.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]]])
    figures.labelled_cells(tmp_path / "c.png", images, labels, strengths)
    picture = read(tmp_path / "c.png")
    above_legend = picture[: int(0.85 * len(picture))]
    sure, five = palette(1, 5)
    pale = np.rint((five + 255) / 2)
    areas = [(abs(above_legend - colour) <= 2).all(axis=2).sum() for colour in (sure, pale)]
    assert areas[0] == pytest.approx(areas[1], rel=0.05) and areas[0] > 0.1 * above_legend[..., 0].size
    assert (abs(above_legend - five) <= 2).all(axis=2).sum() == 0


def test_diverging_colours():
    colours = figures.diverging(np.array([[-1.0, 0.0, 0.5, 1.0]])[None, :, :, None])[0, 0, :, 0]
    np.testing.assert_allclose(colours, np.stack([figures.BLUE, np.ones(3), (1 + figures.RED) / 2, figures.RED]))
