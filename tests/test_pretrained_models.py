"""The models that come with the project, and how a run becomes one of them."""

import hashlib
import json
import sys

import jax
import jax.random as jr
import numpy as np
import pytest
from tiny_training import tiny_vnca

import vnca_jax
from experiments import release
from vnca_jax import pretrained_models
from vnca_jax.checkpoint import export_model, import_model
from vnca_jax.errors import InputError


def leaves(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(model)]


@pytest.mark.parametrize("name", pretrained_models.names())
def test_every_model_loads_and_says_where_it_came_from(name):
    model = vnca_jax.pretrained(name)
    assert all(np.isfinite(leaf).all() and leaf.dtype == np.float32 for leaf in leaves(model))
    results = json.loads((pretrained_models.FOLDER / name / "results.json").read_text())
    assert f"python -m experiments.{results['experiment']}" in results["command"]
    tolerance = release.tolerance_nats((model.image_size, model.image_size, model.image_channels))
    assert abs(results.get("release", {}).get("change_of_iwelbo_nats", 0)) <= tolerance


def test_every_file_has_its_checksum():
    digests = json.loads((pretrained_models.FOLDER / "checksums.json").read_text())
    files = {str(path.relative_to(pretrained_models.FOLDER)): path for path in pretrained_models.FOLDER.glob("*/*")}
    assert digests == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def test_rounded_numbers_are_read_as_the_nearest_of_half_precision(tmp_path):
    model = tiny_vnca()
    export_model(tmp_path / "half.eqx", model, storage="float16", dataset="digits", step=3)
    export_model(tmp_path / "full.eqx", model, dataset="digits", step=3)
    found, header = import_model(tmp_path / "half.eqx")
    assert header["storage"] == "float16" and type(found) is type(model)
    for exact, half in zip(leaves(model), leaves(found), strict=True):
        np.testing.assert_array_equal(half, exact.astype(np.float16).astype(np.float32))
    for exact, full in zip(leaves(model), leaves(import_model(tmp_path / "full.eqx")[0]), strict=True):
        np.testing.assert_array_equal(full, exact)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of models with one, `a_small`."""
    monkeypatch.setattr(pretrained_models, "FOLDER", tmp_path)
    export_model(tmp_path / "a_small" / "model.eqx", tiny_vnca(), dataset="digits", step=1)
    digest = hashlib.sha256((tmp_path / "a_small" / "model.eqx").read_bytes()).hexdigest()
    (tmp_path / "checksums.json").write_text(json.dumps({"a_small/model.eqx": digest}))
    return tmp_path


def test_names(folder):
    for name in ("a_small", "a"):
        for found, expected in zip(leaves(vnca_jax.pretrained(name)), leaves(tiny_vnca()), strict=True):
            np.testing.assert_array_equal(found, expected)
    with pytest.raises(
        InputError, match=r"There is no pretrained model 'a_smal', only a_small; did you mean 'a_small'\?"
    ):
        vnca_jax.pretrained("a_smal")


def test_a_damaged_file(folder):
    path = folder / "a_small" / "model.eqx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match="is not the file that the project ships"):
        vnca_jax.pretrained("a")


def run_release(monkeypatch, folder, run):
    flags = ["--run", str(run), "--name", "b", "--pretrained", str(folder), "--limit", "4", "--num-samples", "2"]
    monkeypatch.setattr(sys, "argv", ["release", *flags])
    options = release.Options(run, "b", limit=4, num_samples=2, pretrained=folder)
    release.main(options)


@pytest.mark.long
def test_release(folder, monkeypatch):
    run = folder.parent / f"{folder.name}_run"
    export_model(run / "model.eqx", tiny_vnca(num_doublings=2), dataset="digits", step=9, experiment="mnist_doubling")
    with pytest.raises(InputError, match=r"has no results\.json"):
        run_release(monkeypatch, folder, run)
    (run / "results.json").write_text(json.dumps({"experiment": "mnist_doubling"}))
    run_release(monkeypatch, folder, run)
    _, header = import_model(folder / "b")
    assert (header["step"], header["storage"], header["experiment"]) == (9, "float16", "mnist_doubling")
    assert json.loads((folder / "b" / "results.json").read_text())["release"]["num_images"] == 4
    digests = json.loads((folder / "checksums.json").read_text())
    assert set(digests) == {"a_small/model.eqx", "b/model.eqx", "b/results.json"}
    assert pretrained_models.resolve(pretrained_models.Path("pretrained:b")) == folder / "b" / "model.eqx"


def test_how_far_a_bound_may_move():
    """A hundredth of a nat; for three colours a ten thousandth of a bit for each of 3,072 numbers, 0.2129 nats."""
    assert release.tolerance_nats((32, 32, 1)) == release.tolerance_nats((28, 28, 1)) == 0.01
    assert abs(release.tolerance_nats((32, 32, 3)) - 0.212934) < 1e-6


@pytest.mark.long
def test_a_model_that_rounding_changes_is_refused(folder, monkeypatch):
    run = folder.parent / f"{folder.name}_run"
    model = jax.tree.map(lambda leaf: leaf + 0.3 * jr.normal(jr.key(0), leaf.shape), tiny_vnca(num_doublings=2))
    export_model(run / "model.eqx", model, dataset="digits", step=9, experiment="mnist_doubling")
    (run / "results.json").write_text(json.dumps({"experiment": "mnist_doubling"}))
    monkeypatch.setattr(release, "TOLERANCE_NATS", 0.0)
    with pytest.raises(InputError, match="to float16 moves its bound by"):
        run_release(monkeypatch, folder, run)
    assert not (folder / "b").exists()
