"""The memory-mapped cache of CelebA: a kill, a full disk, another source."""

import os
import re
import types

import numpy as np
import pytest
from tiny_celeba import NAMES, ORDER, assert_holds, expected, write
from torn_cache import tear_cache

from vnca_jax import data
from vnca_jax.data import celeba, image_cache
from vnca_jax.errors import InputError

pytestmark = pytest.mark.usefixtures("only_here", "small_blocks")


def decoded_numbers(monkeypatch) -> list[int]:
    """The numbers of the images that are decoded from here on."""
    read, counted = celeba.rescaled, []

    def counting(image, size, name):
        counted.append(int(name.rsplit("/", 1)[-1].removesuffix(".jpg")))
        return read(image, size, name)

    monkeypatch.setattr(celeba, "rescaled", counting)
    return counted


def test_a_killed_run_goes_on(jpegs, tmp_path, monkeypatch):
    folder = write(tmp_path / "given", jpegs)
    original, killed_at = celeba.rescaled, NAMES[ORDER[9]]

    def killed(image, size, name):
        if name.endswith(killed_at):
            raise KeyboardInterrupt
        return original(image, size, name)

    monkeypatch.setattr(celeba, "rescaled", killed)
    with pytest.raises(KeyboardInterrupt):
        data.load("celeba", data_dir=folder)
    monkeypatch.setattr(celeba, "rescaled", original)
    assert not list((tmp_path / "cache").glob("*.npy"))
    (part,) = (tmp_path / "cache").glob(".*.part")
    part.write_bytes(part.read_bytes() + b"a torn block")
    counted = decoded_numbers(monkeypatch)
    assert_holds(data.load("celeba", data_dir=folder), jpegs)
    assert sorted(counted) == sorted(ORDER[i] + 1 for i in range(8, 20))  # two blocks of four were finished
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]


@pytest.mark.parametrize("loss", ["header", "images", "mark"])
def test_a_partial_file_that_is_not_what_its_mark_says(jpegs, tmp_path, monkeypatch, loss):
    folder = write(tmp_path / "given", jpegs)
    data.load("celeba", data_dir=folder)
    (whole,) = (tmp_path / "cache").iterdir()
    part, mark = whole.with_name(f".{whole.name}.part"), whole.with_name(f".{whole.name}.finished")
    content = whole.read_bytes()
    whole.unlink()
    mark.write_text("x" if loss == "mark" else "12")
    part.write_bytes({"header": bytes(300) + content[300:], "images": content[:-1], "mark": content}[loss])
    if loss == "images":  # shorter than twelve images and more
        part.write_bytes(content[: 128 + 5 * 64 * 64 * 3])
    counted = decoded_numbers(monkeypatch)
    assert_holds(data.load("celeba", data_dir=folder), jpegs)
    assert len(counted) == {"header": 20, "images": 15, "mark": 20}[loss]
    assert whole.read_bytes() == content


def test_other_images_are_never_taken(jpegs, tmp_path):
    first = write(tmp_path / "first", jpegs)
    second = write(tmp_path / "second", [jpegs[-1], *jpegs[:-1]])
    assert_holds(data.load("celeba", data_dir=first), jpegs)
    assert_holds(data.load("celeba", data_dir=second), [jpegs[-1], *jpegs[:-1]])
    assert_holds(data.load("celeba", size=32, data_dir=second), [jpegs[-1], *jpegs[:-1]], 32)
    assert_holds(data.load("celeba", data_dir=first), jpegs)
    text = (first / "list_eval_partition.txt").read_text()
    (first / "list_eval_partition.txt").write_text(text.replace("000001.jpg 0", "000001.jpg 2"))
    changed = data.load("celeba", data_dir=first)
    assert np.array_equal(changed.test[0], expected(jpegs, 64)[0])
    assert np.array_equal(changed.train[0], expected(jpegs, 64)[1])


@pytest.mark.parametrize("tear", [lambda whole: whole[:-1], lambda whole: whole + b"0", lambda whole: b"",
                                  lambda whole: whole.replace(b"(20, 64", b"(19, 64", 1)])  # fmt: skip
def test_torn_cache_is_made_again(jpegs, tmp_path, tear):
    folder = write(tmp_path / "given", jpegs)
    data.load("celeba", data_dir=folder)
    path, whole = tear_cache(tmp_path / "cache", tear)
    assert_holds(data.load("celeba", data_dir=folder), jpegs)
    assert path.read_bytes() == whole


def test_full_disk_loses_nothing(jpegs, tmp_path, monkeypatch):
    folder = write(tmp_path / "given", jpegs)
    fsync, synced = os.fsync, []

    def full(descriptor):
        synced.append(descriptor)
        if len(synced) == 4:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError) as error:
        data.load("celeba", data_dir=folder)
    assert re.fullmatch(
        rf"The 20 images of celeba could not be written to {tmp_path}/cache/celeba_64_[0-9a-f]{{16}}.npy "
        r"\(No space left on device\); finished ones are kept: make room or name another folder with \$VNCA_CACHE_DIR, "
        "and repeat the command.",
        str(error.value),
    )
    monkeypatch.setattr(os, "fsync", fsync)
    counted = decoded_numbers(monkeypatch)
    assert_holds(data.load("celeba", data_dir=folder), jpegs)
    assert len(counted) == 8


def test_disk_that_is_too_small_or_cannot_be_written(jpegs, tmp_path, monkeypatch):
    folder = write(tmp_path / "given", jpegs)
    counted = decoded_numbers(monkeypatch)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file/celeba_64_.*npy .File exists.; finished ones are kept: name another"):
        data.load("celeba", data_dir=folder, cache_dir=tmp_path / "file")
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=123_456))
    with pytest.raises(InputError, match=r"_64_.*npy \(0.2 MB are needed and 0.1 MB are free\); finished"):
        data.load("celeba", data_dir=folder)
    assert counted == []
