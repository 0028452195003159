"""Binarized MNIST without files: downloads from a server on loopback, and copies that tensorflow-datasets has made."""

import functools
import http.server
import io
import json
import os
import re
import sys
import threading
import types
import warnings
from typing import Any

import fake_tfds
import numpy as np
import pytest
from PIL import Image
from tiny_binarized_mnist import SPLITS, WHERE, amat, assert_holds, put_tiny_in_place, sha256, write_files

from vnca_jax import data
from vnca_jax.data import binarized_mnist
from vnca_jax.data.download import download
from vnca_jax.errors import InputError


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> dict[str, list[list[int]]]:
    return put_tiny_in_place(tmp_path, monkeypatch)


# Downloads


@pytest.fixture
def server(tiny, monkeypatch):
    """A server on loopback: `files` maps a name to its bytes, `torn` holds names that break off half-way."""
    state = types.SimpleNamespace(files={}, torn=set(), asked=[])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rsplit("/", 1)[-1]
            state.asked.append(name)
            if name not in state.files:
                self.send_error(404)
                return
            content = state.files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if name in state.torn else content)

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(binarized_mnist, "BASE_URL", f"http://127.0.0.1:{server.server_port}/binarized_mnist")
        yield state
        server.shutdown()
        thread.join()


def test_interrupted_download_then_a_whole_one(tiny, tmp_path, server, capsys):
    cache = tmp_path / "cache"
    server.files = {f"binarized_mnist_{split}.amat": amat(tiny[split]) for split in SPLITS}
    server.torn = {"binarized_mnist_valid.amat"}
    with pytest.raises(InputError) as error:
        data.load("binarized_mnist")
    assert re.fullmatch(
        r"binarized_mnist was not found and http://127.0.0.1:\d+/binarized_mnist/binarized_mnist_valid.amat could not "
        rf"be downloaded to {re.escape(str(cache))}/binarized_mnist_valid.amat \(the connection broke off after 1,568 "
        rf"of 3,136 bytes\): put binarized_mnist_train.amat, .* {re.escape(WHERE)}",
        str(error.value),
    )
    assert os.listdir(cache) == ["binarized_mnist_train.amat"]
    server.torn = set()
    assert_holds(data.load("binarized_mnist"), tiny)
    assert server.asked == [f"binarized_mnist_{split}.amat" for split in ("train", "valid", "valid", "test")]
    assert "binarized_mnist_test.amat: 100%" in capsys.readouterr().err
    assert_holds(data.load("binarized_mnist"), tiny)
    assert len(server.asked) == 4  # the cache answered


def test_download_where_no_cache_can_be_written(tiny, tmp_path, server):
    server.files = {f"binarized_mnist_{split}.amat": amat(tiny[split]) for split in SPLITS}
    (tmp_path / "file").write_text("in the way")
    assert_holds(data.load("binarized_mnist", cache_dir=tmp_path / "file"), tiny)
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_download_refuses_a_wrong_file(tmp_path, server):
    server.files = {"a": b"right"}
    url = binarized_mnist.BASE_URL
    download(f"{url}/a", tmp_path / "a", sha256(b"right"))
    assert (tmp_path / "a").read_bytes() == b"right"
    with pytest.raises(InputError) as error:
        download(f"{url}/a", tmp_path / "b", sha256(b"other"))
    message = f"{url}/a is not the file expected (its SHA-256 is {sha256(b'right')}, not {sha256(b'other')})"
    assert str(error.value) == message
    with pytest.raises(InputError, match="/c could not be downloaded to .*/c .HTTP Error 404: Not Found.$"):
        download(f"{url}/c", tmp_path / "c", sha256(b"right"))
    with pytest.raises(InputError, match="could not be downloaded to .*/no/folder .*No such file or directory"):
        download(f"{url}/a", tmp_path / "no/folder", sha256(b"right"))
    assert os.listdir(tmp_path) == ["a"]


def test_no_file_and_no_network(tiny, tmp_path):
    with pytest.raises(InputError, match="^binarized_mnist was not found and http.* refused.*: put .*.amat .plain"):
        data.load("binarized_mnist")
    with pytest.raises(InputError, match="^binarized_mnist was not found and downloads are switched off: put "):
        data.load("binarized_mnist", download=False)
    assert not list((tmp_path / "cache").iterdir())


# tensorflow-datasets


def install_fake_tfds(monkeypatch, rows: dict, *, prepared: bool = True) -> Any:
    splits = {"train": rows["train"], "validation": rows["valid"], "test": rows["test"]}
    images = {s: [{"image": np.array(row, np.uint8).reshape(28, 28, 1)} for row in splits[s]] for s in splits}
    return fake_tfds.install(monkeypatch, "binarized_mnist", images, prepared=prepared)


def test_prepared_tfds_copy_in_its_own_order(tiny, tmp_path, monkeypatch):
    shuffled = {split: rows[::-1] for split, rows in tiny.items()}
    install_fake_tfds(monkeypatch, shuffled)
    assert_holds(data.load("binarized_mnist", download=False), shuffled)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert_holds(data.load("binarized_mnist", download=False), shuffled)  # from the cache
    assert_holds(data.load("binarized_mnist", data_dir=write_files(tmp_path / "given", tiny)), tiny)
    assert_holds(data.load("binarized_mnist", download=False), tiny)  # the official order is preferred from now on


def test_tfds_copy_with_other_images(tiny, monkeypatch):
    for wrong in (tiny["valid"][:1], [[2 * pixel for pixel in row] for row in tiny["valid"]]):
        install_fake_tfds(monkeypatch, tiny | {"valid": wrong})
        with pytest.raises(InputError, match="binarized_mnist in /prepared does not hold .* validation: remove it"):
            data.load("binarized_mnist", download=False)


def test_unusable_tfds_is_passed_over(tiny, monkeypatch, server, caplog):
    server.files = {f"binarized_mnist_{split}.amat": amat(tiny[split]) for split in SPLITS}
    install_fake_tfds(monkeypatch, tiny, prepared=False)
    with pytest.raises(InputError, match="downloads are switched off"):
        data.load("binarized_mnist", download=False)
    assert not caplog.records
    install_fake_tfds(monkeypatch, tiny).builder = lambda name: 1 / 0
    assert_holds(data.load("binarized_mnist"), tiny)
    assert "The tensorflow-datasets copy of binarized_mnist cannot be read: division by zero" in caplog.text


def test_copy_that_tfds_itself_reads(tiny, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow_datasets")
    with warnings.catch_warnings(action="ignore"):  # its own affair
        tfds = pytest.importorskip("tensorflow_datasets")
        from array_record.python.array_record_module import ArrayRecordWriter
        from tensorflow_datasets.proto import tf_example_pb2

    folder = tmp_path / "binarized_mnist" / "1.0.0"
    folder.mkdir(parents=True)
    splits = []
    for split, name in binarized_mnist.TFDS_SPLITS.items():
        writer = ArrayRecordWriter(str(folder / f"binarized_mnist-{name}.array_record-00000-of-00001"), "group_size:1")
        for row in tiny[split]:
            Image.fromarray(np.array(row, np.uint8).reshape(28, 28)).save(png := io.BytesIO(), "png")
            example = tf_example_pb2.Example()  # pyright: ignore[reportAttributeAccessIssue]
            example.features.feature["image"].bytes_list.value.append(png.getvalue())
            writer.write(example.SerializeToString())
        writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits.append({"name": name, "filepathTemplate": template, "numBytes": "1", "shardLengths": [len(tiny[split])]})
    info = {"name": "binarized_mnist", "version": "1.0.0", "fileFormat": "array_record", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    monkeypatch.setattr(tfds, "builder", functools.partial(tfds.builder, data_dir=tmp_path))
    with warnings.catch_warnings(action="ignore"):
        assert_holds(data.load("binarized_mnist", download=False), tiny)
    assert "tensorflow" not in sys.modules
