"""What is saved comes back exactly; what is torn, foreign or hostile is refused with a sentence and never runs code."""

import errno
import hashlib
import io
import json
import os
import pickle
import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import modes
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny_training

from vnca_jax.checkpoint import Checkpoints, export_model, import_model
from vnca_jax.errors import InputError

SIZES = {"latent_size": 4, "hidden_size": 5, "num_doublings": 2, "encoder_width": 3, "encoder_depth": 1}

NOT_OF_THESE_SIZES = r"{} does not hold a DoublingVNCA of the sizes that it names \(\w+\); export or copy it again\."


@pytest.fixture(scope="module")
def model():
    return tiny_training.tiny_vnca(**SIZES)


@pytest.fixture
def path(model, tmp_path):
    path = tmp_path / "run" / "model.eqx"
    export_model(path, model, dataset="digits", step=7)
    return path


def rewritten(path: Path, *, leaves: bytes | None = None, **changes) -> Path:
    """The file with another header or other leaves and the checksum that belongs to them, as malice would write it."""
    first_line, _, old_leaves = path.read_bytes().partition(b"\n")
    header = {**json.loads(first_line), **changes}
    header.pop("sha256")
    leaves = old_leaves if leaves is None else leaves
    header["sha256"] = hashlib.sha256(json.dumps(header).encode() + b"\n" + leaves).hexdigest()
    path.write_bytes(json.dumps(header).encode() + b"\n" + leaves)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        import_model(path)
    assert "\n" not in str(error.value)
    return str(error.value)


# A model as one file


def test_what_was_exported_is_imported(model, path):
    for given in (path, path.parent):
        imported, header = import_model(given)
        assert jax.tree.structure(imported) == jax.tree.structure(model)  # with all static sizes
        for ours, theirs in zip(jax.tree.leaves(imported), jax.tree.leaves(model), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
        assert (header["dataset"], header["step"], header["model"]) == ("digits", 7, "DoublingVNCA")
        assert header["sizes"].items() >= SIZES.items()
    assert os.listdir(path.parent) == ["model.eqx"]


def test_sizes_that_a_file_does_not_name_take_their_defaults(model, path):
    """As in files from before `num_mixtures`."""
    _, header = import_model(path)
    sizes = {name: size for name, size in header["sizes"].items() if name != "num_mixtures"}
    imported, _ = import_model(rewritten(path, sizes=sizes))
    assert sizes != header["sizes"] and jax.tree.structure(imported) == jax.tree.structure(model)


def test_the_model_that_comes_with_the_repository():
    imported, header = import_model(tiny_training.ROOT / "pretrained" / "mnist_doubling_small")
    assert (type(imported).__name__, imported.image_size, imported.sizes.num_mixtures) == ("DoublingVNCA", 32, 0)
    assert header["dataset"] == "binarized_mnist"


def test_the_file_is_a_line_of_json_and_the_numbers(model, path):
    first_line, _, rest = path.read_bytes().partition(b"\n")
    header = json.loads(first_line)
    sha256 = header.pop("sha256")
    assert sha256 == hashlib.sha256(json.dumps(header).encode() + b"\n" + rest).hexdigest()
    assert header["versions"].keys() == {"jax", "equinox"}
    file = io.BytesIO(rest)
    for leaf in jax.tree.leaves(model):
        np.testing.assert_array_equal(np.load(file, allow_pickle=False), leaf)
    assert file.read() == b""


def test_every_flipped_bit_is_noticed(path):
    whole = path.read_bytes()
    header_bytes = whole.index(b"\n") + 1
    random = np.random.default_rng(0)
    places = [*range(header_bytes), *random.integers(header_bytes, len(whole), size=200).tolist(), len(whole) - 1]
    for place in places:
        bit = 1 << int(random.integers(8))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        said = refusal(path).removeprefix(f"{path} ")
        assert said.startswith(("is damaged: ", "is not a model of this project; ", "holds a ")), (place, said)


def test_truncated_and_lengthened_files(path):
    whole = path.read_bytes()
    damaged = f"{path} is damaged: its contents do not match its checksum; export or copy it again."
    for content in (whole[:-1], whole[: len(whole) // 2], whole + b"\0", whole[: whole.index(b"\n") + 1]):
        path.write_bytes(content)
        assert refusal(path) == damaged
    for size in (0, 1, 100):
        path.write_bytes(whole[:size])
        assert refusal(path).startswith(f"{path} is not a model of this project; give a model.eqx that one of its ")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


FOREIGN = {
    "random": np.random.default_rng(0).bytes(5000),
    "zeros": bytes(5000),
    "text": b"a\nb\n",
    "list": b"[]\n",
    "null": b"null\n",
    "other json": b'{"format": "vnca_jax model 1"}\n',
    "endless brackets": b"[" * 200_000,
    "no sizes": b'{"format": "vnca_jax model 1", "model": "DoublingVNCA", "sizes": 3, "sha256": ""}\n',
    "no name": b'{"format": "vnca_jax model 1", "model": [], "sizes": {}, "sha256": ""}\n',
    "numpy": b"\x93NUMPY\x01\x00",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_foreign_files(tmp_path, content):
    path = tmp_path / "foreign.eqx"
    path.write_bytes(content)
    expected = f"{path} is not a model of this project; give a model.eqx that one of its runs wrote."
    assert refusal(path) == expected


def test_nothing_is_ever_unpickled(path, tmp_path):
    trace = tmp_path / "trace"
    with pickle.loads(pickle.dumps(Bomb(trace))):
        assert trace.exists()  # so it would show
    trace.unlink()
    foreign = tmp_path / "pickle.eqx"
    foreign.write_bytes(pickle.dumps(Bomb(trace)))
    assert "is not a model of this project" in refusal(foreign)
    array = io.BytesIO()
    np.save(array, np.array([Bomb(trace)], dtype=object), allow_pickle=True)
    for leaves in (array.getvalue(), pickle.dumps(Bomb(trace))):
        assert re.fullmatch(NOT_OF_THESE_SIZES.format(re.escape(str(path))), refusal(rewritten(path, leaves=leaves)))
    assert not trace.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_size": 5},
        {"latent_size": 0},
        {"num_blocks": -1},
        {"num_blocks": 3},
        {"hidden_size": 10**12},
        {"num_doublings": 10**9},
        {"num_blocks": 10**9},
        {"encoder_depth": 5},
        {"latent_size": 4.0},
        {"latent_size": "4"},
        {"latent_size": None},
        {"another_size": 4},
    ],
    ids=str,
)
def test_sizes_that_do_not_belong_to_the_numbers(path, changes):
    _, header = import_model(path)
    said = refusal(rewritten(path, sizes=header["sizes"] | changes))
    assert re.fullmatch(NOT_OF_THESE_SIZES.format(re.escape(str(path))), said)


@pytest.mark.parametrize("read", ["a model", "a checkpoint"])
def test_what_goes_wrong_in_jax_is_no_damage(path, tmp_path, monkeypatch, read):
    """Memory that does not suffice, for example, says nothing of the file."""

    def out_of_memory(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(eqx, "tree_deserialise_leaves", out_of_memory)
    monkeypatch.setattr(ocp.CheckpointManager, "restore", out_of_memory)
    checkpoints = Checkpoints(tmp_path / "c", keep=1)
    checkpoints.save(1, {"w": jnp.ones(3)})
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        import_model(path) if read == "a model" else checkpoints.restore({"w": jnp.ones(3)})


def test_a_closed_file_is_no_damage(path):
    with modes.closed(path):
        assert refusal(path) == f"{path} cannot be read (Permission denied); give a model.eqx or a run directory."
    with modes.closed(path.parent):
        assert refusal(path) == f"{path} cannot be looked at (Permission denied): allow it, or name another folder."


def test_an_update_network_that_nobody_has_registered(path):
    _, header = import_model(path)
    expected = f"{path} has the update network 'mine', not one of residual, simple, neighbour, gated, half_frozen, gru"
    assert refusal(rewritten(path, sizes=header["sizes"] | {"update_network": "mine"})).startswith(expected)
    assert "'[]'" in refusal(rewritten(path, sizes=header["sizes"] | {"update_network": []}))


def test_other_refusals(path, tmp_path):
    expected = f"{path} holds a Transformer, which this version does not know (DoublingVNCA"
    assert refusal(rewritten(path, model="Transformer")).startswith(expected)
    nowhere, empty = tmp_path / "nowhere.eqx", tmp_path / "empty"
    assert refusal(nowhere) == f"There is no file {nowhere}; give a model.eqx or a run directory that has one."
    empty.mkdir()
    assert refusal(empty) == f"{empty} holds no model.eqx; give a model.eqx or a run directory that has one."
    (empty / "model.eqx").mkdir()
    expected = f"{empty / 'model.eqx'} cannot be read (Is a directory); give a model.eqx or a run directory."
    assert refusal(empty) == expected


def test_a_model_that_cannot_be_written_leaves_the_old_one(model, path, monkeypatch):
    whole = path.read_bytes()

    def refuse(*paths):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError) as error:
        export_model(path, model, step=8)
    expected = f"The model cannot be written to {path} (Is a directory); what was there is untouched."
    assert str(error.value) == expected
    assert path.read_bytes() == whole and list(path.parent.iterdir()) == [path]
