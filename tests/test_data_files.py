"""Binarized MNIST from files: where they are looked for, which are refused, and the cache made from them."""

import gzip
import os
import re
from pathlib import Path

import pytest
from tiny_binarized_mnist import WHERE, amat, assert_holds, put_tiny_in_place, sha256, write_files
from torn_cache import tear_cache

from vnca_jax import data
from vnca_jax.data import binarized_mnist
from vnca_jax.errors import InputError


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> dict[str, list[list[int]]]:
    return put_tiny_in_place(tmp_path, monkeypatch)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("subfolder", ["", "binarized_mnist"])
def test_files_in_a_named_folder(tiny, tmp_path, zipped, subfolder):
    write_files(tmp_path / "given" / subfolder, tiny, zipped=zipped)
    assert_holds(data.load("binarized_mnist", data_dir=tmp_path / "given"), tiny)


def test_search_order(tiny, tmp_path, monkeypatch):
    write_files(tmp_path / "kaggle/datasets/somebody/mnist/files/binarized_mnist", tiny, zipped=True)
    assert_holds(data.load("binarized_mnist", cache_dir=tmp_path / "a"), tiny)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("VNCA_DATA_DIR", str(tmp_path / "elsewhere"))  # has none of the files: the search goes on
    assert_holds(data.load("binarized_mnist", cache_dir=tmp_path / "b"), tiny)
    write_files(tmp_path / "elsewhere", tiny | {"test": tiny["train"]})  # now it has, and one of them is wrong
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "elsewhere" / "binarized_mnist_test.amat"))):
        data.load("binarized_mnist", cache_dir=tmp_path / "c")
    assert_holds(data.load("binarized_mnist", data_dir=write_files(tmp_path / "d", tiny)), tiny)


def test_search_under_kaggle_input_is_not_endless(tiny, tmp_path):
    write_files(tmp_path / "kaggle/1/2/3/4/5/6", tiny)
    (tmp_path / "kaggle/1/loop").symlink_to(tmp_path / "kaggle")
    with pytest.raises(InputError, match="was not found"):
        data.load("binarized_mnist", download=False)


def test_missing_files_in_a_named_folder(tiny, tmp_path):
    whole = write_files(tmp_path / "whole", tiny)
    data.load("binarized_mnist", data_dir=whole)
    (whole / "binarized_mnist_valid.amat").unlink()
    expected = f"The data folder {whole} lacks binarized_mnist_valid.amat: put binarized_mnist_train.amat, "
    with pytest.raises(InputError) as error:  # although the cache could answer
        data.load("binarized_mnist", data_dir=whole)
    assert str(error.value).startswith(expected) and str(error.value).endswith(WHERE)
    with pytest.raises(InputError, match="nowhere lacks .*_train.amat, .*_valid.amat, .*_test.amat: put "):
        data.load("binarized_mnist", data_dir=tmp_path / "nowhere")


def test_wrong_files(tiny, tmp_path):
    folder = write_files(tmp_path / "given", tiny, zipped=True)
    path = folder / "binarized_mnist_valid.amat.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"_valid.amat.gz cannot be read \(.*\): replace it by the official file."):
        data.load("binarized_mnist", data_dir=folder)
    path.write_bytes(b"not gzip")
    with pytest.raises(InputError, match="_valid.amat.gz is not the official file"):
        data.load("binarized_mnist", data_dir=folder)
    changed = amat(tiny["valid"]).replace(b"0 1", b"1 1", 1)
    path.write_bytes(gzip.compress(changed))
    expected = (
        f"{path} is not the official file (its unzipped bytes have the SHA-256 {sha256(changed)}, "
        f"not {sha256(amat(tiny['valid']))}): replace or remove it."
    )
    with pytest.raises(InputError) as error:
        data.load("binarized_mnist", data_dir=folder)
    assert str(error.value) == expected
    assert not (tmp_path / "cache").exists()


def test_parse_amat():
    assert binarized_mnist.parse_amat(b"0 1 1\n1 0 0\n", 3).tolist() == [[0, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    "text", [b"", b"0 1 1", b"0 1 1\n0 1\n", b"0 1 2\n", b"0 1 /\n", b"0 1,1\n", b"0 1\n1\n", b"0 1 1 ", b"0 1 1\r\n"]
)
def test_parse_amat_refuses(text):
    with pytest.raises(InputError, match="^An .amat text must be lines of 3 values 0 or 1 with single spaces between"):
        binarized_mnist.parse_amat(text, 3)


# The cache


def test_cache_answers_without_the_files(tiny, tmp_path):
    folder = write_files(tmp_path / "given", tiny)
    data.load("binarized_mnist", data_dir=folder)
    assert os.listdir(tmp_path / "cache") == ["binarized_mnist_official.bits"]
    for path in folder.iterdir():
        path.write_bytes(b"overwritten")
    assert_holds(data.load("binarized_mnist", data_dir=folder), tiny)
    assert_holds(data.load("binarized_mnist", download=False), tiny)


TEARS = {
    "half": lambda whole: whole[: len(whole) // 2],
    "last byte": lambda whole: whole[:-1],
    "all but ten bytes": lambda whole: whole[:10],
    "everything": lambda whole: b"",
    "a bit of a pixel": lambda whole: whole[:-5] + bytes([whole[-5] ^ 16]) + whole[-4:],
    "a bit of a count": lambda whole: whole[:48] + bytes([whole[48] ^ 1]) + whole[49:],
    "a bit of the checksum": lambda whole: bytes([whole[0] ^ 1]) + whole[1:],
    "one byte more": lambda whole: whole + b"0",
}


@pytest.mark.parametrize("tear", TEARS.values(), ids=TEARS.keys())
def test_torn_cache_is_made_again(tiny, tmp_path, tear):
    folder = write_files(tmp_path / "given", tiny)
    data.load("binarized_mnist", data_dir=folder)
    cache, whole = tear_cache(tmp_path / "cache", tear)
    with pytest.raises(InputError, match="downloads are switched off"):
        data.load("binarized_mnist", download=False)  # the torn cache alone is nothing
    assert_holds(data.load("binarized_mnist", data_dir=folder), tiny)
    assert cache.read_bytes() == whole


def test_cache_that_cannot_be_written(tiny, tmp_path, monkeypatch):
    folder = write_files(tmp_path / "given", tiny)
    (tmp_path / "file").write_text("in the way")
    assert_holds(data.load("binarized_mnist", data_dir=folder, cache_dir=tmp_path / "file" / "cache"), tiny)

    def fill_the_disk(path, content):
        with open(path, "wb") as file:
            file.write(content[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    assert_holds(data.load("binarized_mnist", data_dir=folder), tiny)
    assert os.listdir(tmp_path / "cache") == []
