"""Your own folder of pictures: pixels by hand, a split that only contents decide, a cache that notices changes."""

import hashlib
import io
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_training
from PIL import Image
from tiny_pictures import encoded, folder_of, jpeg, png, resized, smooth, write

from vnca_jax import data, eval, parallel
from vnca_jax.checkpoint import export_model
from vnca_jax.data import folder
from vnca_jax.errors import InputError

pytestmark = pytest.mark.usefixtures("only_here")


@pytest.fixture
def pictures(tmp_path) -> Path:
    return folder_of(30, 9, tmp_path / "cats")


def share(content: bytes) -> float:
    return int(hashlib.sha256(content).hexdigest(), 16) / 2**256


# Pixels


def test_the_middle_is_rescaled(tmp_path):
    pixels = np.full((8, 16, 3), 255, np.uint8)  # of which columns 4 to 11 are the middle square
    pixels[:, 4:8], pixels[:, 8:12] = (0, 240, 96), (240, 0, 96)
    path = write(tmp_path / "step.png", png(pixels))
    # Half as large, a pixel is (1, 3, 3, 1) / 8 of the four around its middle, and (3, 3, 1) / 7 at the border.
    row = [[0, 240, 96], [30, 210, 96], [210, 30, 96], [240, 0, 96]]
    assert folder.rescaled(path, 4).tolist() == [row] * 4
    # Grey levels 152 and 83 side by side, so 152, 143, 92, 83.
    assert folder.rescaled(path, 4, binary=True).tolist() == [[[1], [1], [0], [0]]] * 4
    large = folder.rescaled(path, 16)
    assert large[:, :7].tolist() == [[[0, 240, 96]] * 7] * 16 and large[:, 9:].tolist() == [[[240, 0, 96]] * 7] * 16


def test_half_of_full_scale_is_white(tmp_path):
    for level, pixel in ((127, 0), (128, 1)):
        path = write(tmp_path / f"{level}.png", png(np.full((4, 4), level, np.uint8)))
        assert folder.rescaled(path, 4, binary=True).tolist() == [[[pixel]] * 4] * 4


def painted() -> Image.Image:
    """All pixels have the second colour of its palette."""
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([9, 9, 9, 200, 100, 50])
    return picture


def moving() -> bytes:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((200, 100, 50), "black")]
    return encoded(frames[0].quantize(4), "GIF", save_all=True, append_images=[frames[1].quantize(4)])


KINDS = {
    "grey.png": (lambda: png(np.full((4, 4), 77, np.uint8)), (77, 77, 77)),
    "black_and_white.bmp": (lambda: encoded(Image.new("1", (4, 4), 1), "BMP"), (255, 255, 255)),
    "colour.webp": (lambda: encoded(Image.new("RGB", (4, 4), (9, 200, 30)), "WEBP", lossless=True), (9, 200, 30)),
    "moving.gif": (moving, (200, 100, 50)),
    "16_bits.png": (lambda: encoded(Image.fromarray(np.full((4, 4), 0x8001, np.uint16)), "PNG"), (128, 128, 128)),
    "print.JPG": (lambda: encoded(Image.new("CMYK", (4, 4), (0, 0, 0, 255)), "JPEG"), (0, 0, 0)),
    # 0.4 of (0, 50, 100) on white
    "half_transparent.png": (lambda: png(np.full((4, 4, 4), [0, 50, 100, 102], np.uint8)), (153, 173, 193)),
    "transparent.png": (lambda: encoded(painted(), "PNG", transparency=1), (255, 255, 255)),
    "opaque.png": (lambda: encoded(painted(), "PNG", transparency=0), (200, 100, 50)),
    "grey_transparent.png": (lambda: encoded(Image.new("LA", (4, 4), (9, 0)), "PNG"), (255, 255, 255)),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_pictures(name, tmp_path):
    make, colour = KINDS[name]
    path = write(tmp_path / name, make())
    assert folder.rescaled(path, 4).tolist() == [[list(colour)] * 4] * 4
    for level in (1, 2, 3):
        write(tmp_path / f"{level}.png", png(np.full((4, 4), level, np.uint8)))
    dataset = data.load("folder", size=4, data_dir=tmp_path)
    found = np.concatenate([dataset.train, dataset.test])[:, 0, 0].tolist()
    assert sorted(found) == sorted([[1] * 3, [2] * 3, [3] * 3, list(colour)])


def test_upright(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, 2:] = 255  # the right half, which a quarter turn clockwise brings down
    exif = Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path / "phone.png", encoded(Image.fromarray(pixels), "PNG", exif=exif))
    assert folder.rescaled(path, 4).tolist() == np.rot90(pixels, -1).tolist()
    assert folder.rescaled(path, 4)[:, 0, 0].tolist() == [0, 0, 255, 255]


# The split


def test_contents_decide(pictures, capsys):
    dataset = data.load("folder", size=4, data_dir=pictures)
    contents = sorted((path.read_bytes() for path in pictures.rglob("*.png")), key=share)
    chosen = [content for content in contents if share(content) < 1 / 6]
    assert 2 <= len(chosen) < 10
    for images, wanted in ((dataset.train, contents[len(chosen) :]), (dataset.test, chosen)):
        squares = [np.asarray(Image.open(io.BytesIO(content)))[:, :8] for content in wanted]  # 9 columns, less the last
        assert np.array_equal(images, np.stack([resized(square, 4) for square in squares]))
    assert dataset.name == "folder:cats"
    assert capsys.readouterr().err.endswith(f"folder:cats: 30 pictures, {len(chosen)} of them test pictures.\n")


def test_names_play_no_part_and_copies_go_together(pictures, monkeypatch):
    before = data.load("folder", size=4, data_dir=pictures)
    paths = sorted(pictures.rglob("*.png"))
    numbers = random.Random(0).sample(range(30), 30)
    for path, number in zip(paths, numbers, strict=True):
        path.rename(pictures / f"renamed {number}.png")
    with monkeypatch.context() as patch:
        patch.setattr(folder, "rescaled", None)  # the cache alone can answer
        after = data.load("folder", size=4, data_dir=pictures)
    assert np.array_equal(before.train, after.train) and np.array_equal(before.test, after.test)
    for path in sorted(pictures.glob("*.png")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    twice = data.load("folder", size=4, data_dir=pictures)
    assert np.array_equal(twice.train, np.repeat(before.train, 2, axis=0))
    assert np.array_equal(twice.test, np.repeat(before.test, 2, axis=0))


def test_which_sums_are_for_testing():
    def chosen(*firsts):
        return sorted(digest[0] for digest in folder.test_digests({bytes([first]) * 32 for first in firsts}))

    assert chosen(0, 1, 42, 43, 100, 200, 255, 254) == [0, 1, 42]  # 256 / 6 is 42.7
    assert chosen(255, 254, 253, 252, 251) == [251, 252]
    assert chosen(1, 99, 98, 97, 96) == [1, 96]
    assert chosen(0, 1, 2, 3, 4) == [0, 1]


def test_folders_called_train_and_test(pictures, capsys):
    for name, old in (("train", "a"), ("test", "b")):
        (pictures / old).rename(pictures / name)
    dataset = data.load("folder", size=8, data_dir=pictures)
    for name, images in (("train", dataset.train), ("test", dataset.test)):
        contents = sorted((path.read_bytes() for path in (pictures / name).iterdir()), key=share)
        squares = [np.asarray(Image.open(io.BytesIO(content)))[:, :8] for content in contents]
        assert np.array_equal(images, np.stack(squares))
    shutil.copy(next((pictures / "train").iterdir()), pictures / "test" / "deeper.png")
    data.load("folder", size=8, data_dir=pictures)
    said = (
        "folder:cats: 21 pictures, 11 of them test pictures, 1 of which are among the training pictures too.\n"
        "folder:cats: training pictures are those in train, test pictures those in test; 10 beside these folders are "
        "left out.\n"
    )
    assert capsys.readouterr().err.endswith(said)
    shutil.rmtree(pictures / "test")
    assert len(data.load("folder", size=8, data_dir=pictures).train) < 20


def test_what_is_left_out(pictures):
    before = data.load("folder", size=4, data_dir=pictures)
    write(pictures / "notes.txt", b"no picture")
    write(pictures / "._picture.png", b"what a Mac leaves")
    write(pictures / ".thumbnails" / "0.png", png(smooth(40, 8, 9, 3)))
    (pictures / "a" / "back").symlink_to(pictures)
    after = data.load("folder", size=4, data_dir=pictures)
    assert np.array_equal(before.train, after.train) and np.array_equal(before.test, after.test)
    outside = write(pictures.parent / "elsewhere" / "more.jpeg", jpeg(smooth(41, 8, 9, 3)))
    (pictures / "linked").symlink_to(outside.parent)
    linked = data.load("folder", size=4, data_dir=pictures)
    assert len(linked.train) + len(linked.test) == 31


# The cache


def test_it_notices_changes(pictures):
    def count_and_sum(name="folder", size=4):
        dataset = data.load(name, size=size, data_dir=pictures)
        images = np.concatenate([dataset.train, dataset.test])
        return len(images), int(images.sum())

    count, total = count_and_sum()
    path = next(pictures.rglob("*.png"))
    old, when = path.read_bytes(), path.stat()
    white = write(pictures / "white.png", png(np.full((4, 4, 3), 255, np.uint8)))
    assert count_and_sum() == (count + 1, total + 4 * 4 * 3 * 255)
    white.unlink()
    assert count_and_sum() == (count, total)
    path.write_bytes(png(np.zeros((4, 4, 3), np.uint8)).ljust(len(old), b"\0"))
    os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))  # of the same size and age
    lost = int(resized(np.asarray(Image.open(io.BytesIO(old)))[:, :8], 4).sum())
    assert count_and_sum() == (count, total - lost)
    assert count_and_sum("folder_binary")[1] < 16 * 30 and count_and_sum(size=8)[0] == 30
    files = [path.name for path in (pictures.parent / "cache").iterdir() if path.suffix == ".npy"]
    assert sorted(name.rpartition("_")[0] for name in files) == ["folder_4"] * 3 + ["folder_8", "folder_binary_4"]


# What it refuses


def refused(name: str = "folder", **options) -> str:
    with pytest.raises(InputError) as error:
        data.load(name, **options)
    return str(error.value)


def test_no_folder(tmp_path):
    for name in ("folder", "folder_binary", "folder_binary:cats"):
        wanted = f"The dataset {name.partition(':')[0]} reads your own folder of pictures: name it with --data-dir."
        assert refused(name) == wanted
    for path, what in ((tmp_path / "nowhere", "does not exist"), (write(tmp_path / "file.png", b""), "is no folder")):
        assert refused(data_dir=path) == (
            f"--data-dir is {path}, which {what}: name the folder that holds your pictures."
        )


def test_too_few_pictures(tmp_path):
    inside = tmp_path / "own"
    write(inside / "notes.txt", b"")
    assert refused(data_dir=inside) == (
        f"{inside} holds no pictures, of which at least 4 are needed, but 1 other file (.txt): name a folder with PNG, "
        "JPEG, WebP, BMP, GIF or TIFF files in it or its sub-folders."
    )
    for i in range(6):
        write(inside / f"{i}.png", png(smooth(i % 3, 4, 4, 3)))
    assert refused(data_dir=inside) == f"{inside} holds 3 different pictures, but at least 4 are needed: add some."
    write(inside / "6.png", png(smooth(3, 4, 4, 3)))
    dataset = data.load("folder", size=4, data_dir=inside)
    assert len(dataset.train) + len(dataset.test) == 7
    for side in ("train", "test"):
        write(inside / side / "0.png", png(smooth(0, 4, 4, 3)))
    assert (
        refused(data_dir=inside)
        == f"{inside / 'train'} holds 1 different picture, but at least 2 are needed: add some."
    )


def test_sizes(pictures):
    sizes = "512x512, 256x256, 128x128, 64x64, 32x32, 16x16, 8x8 or 4x4"
    wanted = f"folder was asked for in 28x28 pixels, but comes in {sizes} only: choose one of these."
    assert refused(size=28, data_dir=pictures) == wanted
    with pytest.raises(InputError) as error:
        data.load_padded("folder", 28, data_dir=pictures)
    assert str(error.value) == wanted
    assert data.load("folder", data_dir=pictures).train.shape[1:] == (64, 64, 3)
    assert data.load_padded("folder_binary", 512, data_dir=pictures).test.shape[1:] == (512, 512, 1)


# A trained model


def test_evaluation_of_a_model_that_was_trained_on_it(pictures, tmp_path, capsys):
    dataset = data.load("folder_binary", size=4, data_dir=pictures)
    model = tiny_training.tiny_vnca()
    export_model(tmp_path / "model.eqx", model, dataset=dataset.name, step=3)
    options = eval.Options(tmp_path / "model.eqx", num_samples=2, data_dir=pictures, num_devices=1)
    found = eval.main(options)
    mesh = parallel.make_mesh(1)
    expected = eval.evaluate(model, np.array(dataset.test), num_samples=2, seed=0, mesh=mesh)
    assert found.terms == expected.terms and found.num_images == len(dataset.test)
    assert "3 updates, on folder_binary:cats" in capsys.readouterr().out
