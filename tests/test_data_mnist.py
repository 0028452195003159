"""MNIST's files: the format, where they are looked for and which are refused; labels; the command that writes them."""

import csv
import dataclasses
import gzip
import json
from pathlib import Path

import fake_tfds
import numpy as np
import pytest
import tiny_binarized_mnist
import tiny_mnist

from experiments import mnist_labels
from vnca_jax import data
from vnca_jax.data import folders, labels, mnist, mnist_files
from vnca_jax.data.idx import parse_idx, read_unzipped
from vnca_jax.data.mnist_files import FILES
from vnca_jax.errors import InputError

TEST_IMAGES, TEST_LABELS = FILES["test"]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Small official splits of MNIST; no way to any data but tmp_path."""
    tiny_binarized_mnist.put_tiny_in_place(tmp_path, monkeypatch)
    splits = tiny_mnist.make_splits(0, {"train": 9, "test": 6})
    tiny_mnist.put_in_place(monkeypatch, mnist, "MNIST", splits)
    return splits


# The format


def test_idx_written_out(tmp_path):
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255])
    for name, written in (("plain", content), ("zipped", gzip.compress(content)), ("plain.gz", content)):
        (tmp_path / name).write_bytes(written)
        assert parse_idx(read_unzipped(tmp_path / name), tmp_path / name).tolist() == [[1, 2, 3], [4, 5, 255]]
    wrong = {
        b"": r"is no IDX file \(it begins with the bytes \): replace it.",
        b"P5 9 9": r"is no IDX file \(it begins with the bytes 50 35 20 39\): replace it.",
        bytes([0, 0, 13, 1, 0, 0, 0, 0]): "is an IDX file of type 0x0d, but only 0x08, unsigned bytes, is read.",
        content[:9]: "ends within the sizes of its 2 axes: replace it by a complete IDX file.",
        content[:-1]: "has 17 bytes, but an IDX file of 2x3 bytes has 18: replace it.",
        content + b"0": "has 19 bytes, but an IDX file of 2x3 bytes has 18: replace it.",
        gzip.compress(content)[:-9]: r"cannot be read \(.*\): replace it by the official file.",
    }
    for written, message in wrong.items():
        (tmp_path / "wrong").write_bytes(written)
        with pytest.raises(InputError, match=f"wrong {message}$"):
            parse_idx(read_unzipped(tmp_path / "wrong"), tmp_path / "wrong")
    with pytest.raises(InputError, match="nowhere cannot be read .*No such file"):
        parse_idx(read_unzipped(tmp_path / "nowhere"), tmp_path / "nowhere")


# Where the files are


@pytest.mark.parametrize("subfolder", [".", "mnist"])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_files_in_a_named_folder(tiny, tmp_path, subfolder, zipped, dotted):
    tiny_mnist.write(tmp_path / "given" / subfolder, tiny, zipped=zipped, dotted=dotted)
    for split in ("train", "test"):
        tiny_mnist.assert_same(mnist.read(split, data_dir=tmp_path / "given"), tiny[split])


def test_search(tiny, tmp_path, monkeypatch):
    assert mnist.read("test") is None
    # what Kaggle makes of an upload: each file in a folder of its name
    tiny_mnist.write(tmp_path / "kaggle/somebodys-mnist" / TEST_IMAGES, tiny, dotted=True)
    tiny_mnist.write(tmp_path / "kaggle/a-fashion-mnist", tiny_mnist.make_splits(1, {"train": 9, "test": 6}))
    tiny_mnist.assert_same(mnist.read("test", data_dir=tmp_path / "empty"), tiny["test"])
    monkeypatch.setattr(folders, "KAGGLE_INPUT", tmp_path / "nothing")
    assert mnist.read("test") is None
    monkeypatch.setenv("VNCA_DATA_DIR", str(tiny_mnist.write(tmp_path / "given" / "mnist", tiny).parent))
    tiny_mnist.assert_same(mnist.read("train"), tiny["train"])
    (tmp_path / "given" / "mnist" / FILES["train"][0]).unlink()
    assert mnist.read("train") is None


def test_another_datasets_files_have_the_same_names(tiny, tmp_path):
    other = tiny_mnist.make_splits(1, {"train": 9, "test": 6})
    folder = tiny_mnist.write(tmp_path / "given", other)
    content, expected = (tiny_mnist.contents(splits)[TEST_IMAGES] for splits in (other, tiny))
    with pytest.raises(InputError) as error:
        mnist.read("test", data_dir=folder)
    assert str(error.value) == (
        f"{folder / TEST_IMAGES} is not the file of mnist (its unzipped bytes have the SHA-256 "
        f"{tiny_mnist.sha256(content)}, not {tiny_mnist.sha256(expected)}), and other datasets' files have the same "
        "name: replace it, or put that of mnist into a sub-folder mnist."
    )
    tiny_mnist.write(folder / "mnist", tiny)
    tiny_mnist.assert_same(mnist.read("test", data_dir=folder), tiny["test"])


def test_download(tiny, tmp_path, monkeypatch):
    served = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in tiny_mnist.contents(tiny).items()}
    asked = []

    def serve(url: str, target: Path, sha256: str) -> None:
        asked.append(target.name)
        assert url == f"http://127.0.0.1:9/nothing/{target.name}" and sha256 == tiny_mnist.sha256(served[target.name])
        target.write_bytes(served[target.name])

    with pytest.raises(
        InputError, match="^mnist was not found and http.* refused.*: put t10k-images-idx3-ubyte, t10k-"
    ):
        mnist.read("test", download=True)
    monkeypatch.setattr(mnist_files, "download_file", serve)
    tiny_mnist.assert_same(mnist.read("test", download=True), tiny["test"])
    assert asked == [f"{TEST_IMAGES}.gz", f"{TEST_LABELS}.gz"]
    tiny_mnist.assert_same(mnist.read("test"), tiny["test"])  # kept in the cache folder
    (tmp_path / "cache" / "mnist" / f"{TEST_LABELS}.gz").unlink()
    (tmp_path / "file").write_text("in the way")
    tiny_mnist.assert_same(mnist.read("test", cache_dir=tmp_path / "file", download=True), tiny["test"])
    assert len(asked) == 4


def install_fake_tfds(monkeypatch, name: str, splits) -> None:
    examples = {
        split: [
            {"image": image[..., None], "label": int(label)}
            for image, label in zip(held.images, held.labels, strict=True)
        ]
        for split, held in splits.items()
    }
    fake_tfds.install(monkeypatch, name, examples)


def test_prepared_tfds_copy_in_its_own_order(tiny, monkeypatch):
    reversed_splits = {s: dataclasses.replace(held, images=held.images[::-1], labels=held.labels[::-1])
                       for s, held in tiny.items()}  # fmt: skip
    install_fake_tfds(monkeypatch, "mnist", reversed_splits)
    tiny_mnist.assert_same(mnist.read("test"), reversed_splits["test"])
    install_fake_tfds(monkeypatch, "mnist", tiny_mnist.make_splits(1, {"test": 6}))
    with pytest.raises(InputError, match="copy of mnist in /prepared does not hold .* split test: remove it.$"):
        mnist.read("test")


# Labels


@pytest.fixture
def drawn(tiny, tmp_path):
    """Binary images drawn from MNIST's in another order, and their labels; MNIST's files in a folder."""
    random = np.random.default_rng(2)
    order = {split: random.permutation(len(held.labels)) for split, held in tiny.items()}
    images = {
        split: (random.random((len(order[split]), 28, 28, 1)) < tiny[split].images[order[split], ..., None] / 255)
        for split in tiny
    }
    dataset = data.Dataset("binarized_mnist", *(images[split].astype(np.uint8) for split in ("train", "test")))
    tiny_mnist.write(tmp_path / "given" / "mnist", tiny)
    return dataset, {split: tiny[split].labels[order[split]].tolist() for split in tiny}


def test_labels_of_drawn_images(drawn, tmp_path, monkeypatch):
    dataset, expected = drawn
    found = data.labelled(dataset, data_dir=tmp_path / "given")
    assert found.test_labels is not None and found.test_labels.tolist() == expected["test"]
    assert found.train is dataset.train and found.test is dataset.test and dataset.test_labels is None
    assert found.some_test_labels(4).tolist() == [expected["test"][i] for i in (0, 1, 3, 4)]
    assert np.array_equal(found.some_test_images(4), dataset.test[[0, 1, 3, 4]])
    assert data.labelled(found, download=False) is found
    monkeypatch.setattr(labels, "match", None)  # from here on only the cache can answer
    padded = data.labelled(dataset.padded(32), download=False)
    assert padded.test_labels is not None and padded.test_labels.tolist() == expected["test"]
    assert padded.padded(34).test_labels is padded.test_labels


def test_torn_label_cache_is_made_again(drawn, tmp_path):
    dataset, expected = drawn
    data.labelled(dataset, data_dir=tmp_path / "given")
    [cached] = (tmp_path / "cache").glob("*.labels")
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = data.labelled(dataset, data_dir=tmp_path / "given")
    assert again.test_labels is not None and again.test_labels.tolist() == expected["test"]
    assert cached.read_bytes() == whole


def test_labels_without_mnist(drawn, tmp_path, monkeypatch):
    dataset, expected = drawn
    with pytest.raises(InputError) as error:
        data.labelled(dataset, download=False)
    assert str(error.value) == (
        "The labels of binarized_mnist come from MNIST, which was not found, and downloads are switched off: put "
        "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (plain or .gz) into the folder mnist of the one that "
        "--data-dir or $VNCA_DATA_DIR names, or attach them as a dataset under /kaggle/input."
    )
    (tmp_path / "given" / "mnist" / FILES["train"][0]).unlink()  # which nothing reads
    found = data.labelled(dataset, data_dir=tmp_path / "given")
    assert found.some_test_labels(None).tolist() == expected["test"]
    with pytest.raises(InputError, match="^emoji has no labels, and only those of binarized_mnist can be recovered.$"):
        data.labelled(dataclasses.replace(dataset, name="emoji"))
    with pytest.raises(
        InputError, match="^The test images of binarized_mnist have no labels; `vnca_jax.data.labelled`"
    ):
        dataset.some_test_labels(3)


def test_labels_of_digits():
    from sklearn.datasets import load_digits

    values, targets = load_digits(return_X_y=True)
    dataset = data.load("digits")
    assert data.labelled(dataset) is dataset and dataset.train_labels is not None and dataset.test_labels is not None
    both = zip(np.concatenate([dataset.train, dataset.test]).reshape(-1, 64).tolist(),
               [*dataset.train_labels.tolist(), *dataset.test_labels.tolist()], strict=True)  # fmt: skip
    expected = zip((np.asarray(values) >= 8).astype(int).tolist(), np.asarray(targets).tolist(), strict=True)
    assert sorted(both) == sorted(expected)
    assert dataset.padded(10).some_test_labels(2).tolist() == dataset.test_labels[[0, 180]].tolist()


# The command


def test_what_the_command_writes(drawn, tmp_path, monkeypatch, capsys):
    dataset, expected = drawn
    monkeypatch.setattr(data, "load", lambda name, **_: {"binarized_mnist": dataset}[name])
    mnist_labels.main(mnist_labels.Options(data_dir=tmp_path / "given", out=tmp_path / "runs"))
    folder = tmp_path / "runs" / "mnist_labels"
    rows = list(csv.DictReader((folder / "test_labels.csv").read_text().splitlines()))
    assert [int(row["label"]) for row in rows] == expected["test"]
    assert [int(row["index"]) for row in rows] == list(range(6))
    assert sorted(int(row["mnist_index"]) for row in rows) == list(range(6))
    facts = json.loads((folder / "results.json").read_text())
    assert (
        facts["images"] == 6 and facts["images_of_each_digit"] == np.bincount(expected["test"], minlength=10).tolist()
    )
    assert (facts["ties"], facts["duplicate_binary_images"], facts["duplicate_grey_images"]) == (0, 0, 0)
    assert facts["likeliest_is_one_to_one"] and facts["moved_to_make_it_one_to_one"] == 0
    alone = sum(row["margin"] == "inf" for row in rows)
    assert facts["images_possible_under_one_grey_image_only"] == alone
    said = capsys.readouterr().out
    assert f"images possible under one grey image only {alone}" in " ".join(said.split())
    assert (folder / "figures" / "least_certain.png").stat().st_size > 0
