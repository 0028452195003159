"""The ONNX graphs, run by onnxruntime, against our own arrays."""

import hashlib
import json
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training
from close import assert_close
from sklearn.decomposition import PCA
from tiny_training import tiny_nondoubling, tiny_vnca

import vnca_jax
from vnca_jax import automaton, onnx
from vnca_jax.checkpoint import export_model
from vnca_jax.errors import InputError
from vnca_jax.models import ConvVAE, DoublingVNCA

TOLERANCE = 1e-4
SMALL_BASELINE = {"image_size": 8, "latent_size": 5, "encoder_width": 3, "encoder_depth": 2}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what jax2onnx imports


@pytest.fixture(scope="module")
def runtime():
    """onnxruntime, where it and jax2onnx are installed."""
    reason = "the extra `web` is not installed: pip install -e '.[web]'"
    pytest.importorskip("jax2onnx", reason=reason)
    return pytest.importorskip("onnxruntime", reason=reason)


def nondoubling(**sizes):
    return tiny_nondoubling(image_size=8, num_steps=6, encoder_depth=2, latent_size=5, **sizes)


def calm():
    """One whose cells hardly change, so that rounding its parameters does not show."""
    model = nondoubling()
    return eqx.tree_at(lambda model: model.update.out, model, replace_fn=lambda out: out / 100)


MODELS = {
    "nondoubling": nondoubling,
    "gru": lambda: tiny_vnca(num_doublings=2, latent_size=5, num_blocks=1, update_network="gru", one_per_scale=True),
    "colours": lambda: tiny_vnca(num_doublings=2, latent_size=12, image_channels=3, num_mixtures=1),
    "baseline": lambda: tiny_training.filled(ConvVAE, SMALL_BASELINE),
    "mnist_doubling": lambda: vnca_jax.pretrained("mnist_doubling"),
    "mnist_nondoubling": lambda: vnca_jax.pretrained("mnist_nondoubling"),
}


@pytest.fixture(scope="module", params=MODELS)
def exported(request, runtime, tmp_path_factory):
    """A model with the parameters that were written, its manifest, and its graphs as functions of arrays."""
    folder = tmp_path_factory.mktemp("exported")
    model = MODELS[request.param]()
    manifest = onnx.export(model, folder, {"dataset": "digits"})
    return onnx.rounded(model)[0], manifest, Graphs(runtime, folder)


class Graphs:
    """The graphs in a folder; `graphs.step(cells)` runs step.onnx."""

    def __init__(self, runtime, folder):
        self._runtime, self._folder, self._sessions = runtime, folder, {}

    def __getattr__(self, name):
        if name not in self._sessions:
            path = self._folder / f"{name}.onnx"
            self._sessions[name] = self._runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        session = self._sessions[name]

        def run(*arrays):
            names = [entry.name for entry in session.get_inputs()]
            found = session.run(None, {k: np.asarray(v) for k, v in zip(names, arrays, strict=True)})
            return found[0] if len(found) == 1 else found

        return run


def latent(model):
    return jr.normal(jr.key(1), (1, model.latent_size))


def test_encoder(exported):
    model, _, graphs = exported
    shape = (1, model.image_size, model.image_size, model.image_channels)
    x = jr.bernoulli(jr.key(2), 0.3, shape).astype(jnp.float32)
    for found, expected in zip(graphs.encoder(x), model.encode(x), strict=True):
        assert_close(found, expected, TOLERANCE)


def test_every_step_of_the_growth(exported):
    """Our own growth keeps the cells after each step; the graphs take each step from their own cells before it."""
    model, manifest, graphs = exported
    if isinstance(model, ConvVAE):
        pytest.skip("a baseline has no steps")
    stages = eqx.filter_jit(model.grow)(latent(model))
    assert len(stages) == (model.num_stages if isinstance(model, DoublingVNCA) else 1)
    cells = np.asarray(stages[0][0])
    for k, states in enumerate(stages):
        cells = graphs.double(cells) if k else cells
        np.testing.assert_allclose(cells, states[0], atol=TOLERANCE * np.abs(states[0]).max())
        step = graphs.step if "step" in manifest["graphs"] else getattr(graphs, f"step_{k}")
        for expected in states[1:]:
            cells = step(cells)
            assert_close(cells, expected, TOLERANCE)
    expected = model.likelihood.mean(model.outputs(stages[-1][-1]))
    np.testing.assert_allclose(graphs.mean(cells), expected, rtol=0, atol=TOLERANCE)


def test_an_export_logs_nothing(runtime, caplog):
    """Its libraries warn of values inside a mixture's graph whose types they leave out, which harms nothing."""
    onnx.convert(onnx.graphs(MODELS["colours"]())["mean"])
    assert not caplog.records


def test_decoder_of_the_baseline(exported):
    model, _, graphs = exported
    if not isinstance(model, ConvVAE):
        pytest.skip("an automaton decodes step by step")
    parameters = model.decode(latent(model))
    found = graphs.decoder(latent(model))
    assert_close(found, parameters, TOLERANCE)
    np.testing.assert_allclose(graphs.mean(found), model.likelihood.mean(parameters), rtol=0, atol=TOLERANCE)


def test_manifest(exported, tmp_path):
    model, manifest, graphs = exported
    folder = graphs._folder
    assert json.loads((folder / "manifest.json").read_text()) == json.loads(json.dumps(manifest))
    assert {path.stem for path in folder.glob("*.onnx")} == set(manifest["graphs"])
    for name, graph in manifest["graphs"].items():
        content = (folder / f"{name}.onnx").read_bytes()
        assert (graph["bytes"], graph["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert manifest["sizes"]["image_size"] == model.image_size and manifest["dataset"] == "digits"
    if manifest["storage"] == "float16":
        numbers = sum(leaf.size for leaf in jax.tree.leaves(model))
        written = sum(graph["bytes"] for graph in manifest["graphs"].values())
        assert written < 2 * numbers + 80_000  # bytes: two each, and the graphs themselves


def test_cells_updated_at_random(runtime, tmp_path):
    model = nondoubling(update_probability=0.5)
    onnx.export(model, tmp_path, {})
    model, graphs = onnx.rounded(model)[0], Graphs(runtime, tmp_path)
    cells, updated = model.seed(latent(model)), jr.bernoulli(jr.key(3), 0.5, (1, 8, 8, 1)).astype(jnp.float32)
    every = automaton.run(model.update, cells, 1)
    assert_close(graphs.step(cells, updated), np.where(updated == 1, every, cells), TOLERANCE)


def test_numbers_that_float16_lacks_stay_as_they_are():
    model = calm()
    half, storage = onnx.rounded(model)
    assert storage == "float16"
    for leaf, before in zip(jax.tree.leaves(half), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(leaf, np.asarray(before).astype(np.float16).astype(np.float32))
    large = eqx.tree_at(lambda model: model.update.out, model, replace_fn=lambda out: out * 1e6)
    kept, storage = onnx.rounded(large)
    assert storage == "float32"
    for leaf, before in zip(jax.tree.leaves(kept), jax.tree.leaves(large), strict=True):
        np.testing.assert_array_equal(leaf, before)


def test_components_are_those_of_the_grown_cells():
    model = nondoubling()
    found = onnx.components(model)
    z = jr.normal(jr.key(0), (onnx.NUM_SAMPLES, 5))
    cells = np.asarray(model.steps(model.seed(z), 6)).reshape(-1, 5).astype(np.float64)
    pca = PCA(3).fit(cells)
    np.testing.assert_allclose(found["mean"], pca.mean_, atol=1e-5)
    directions = np.array(found["directions"])
    np.testing.assert_allclose(np.abs((directions * pca.components_).sum(axis=1)), 1, atol=1e-4)
    shares = ((cells - pca.mean_) @ directions.T > found["high"]).mean(axis=0)
    np.testing.assert_allclose(shares, 0.01, atol=2e-3)


def test_the_command(runtime, tmp_path, capsys):
    run = tmp_path / "run"
    export_model(run / "model.eqx", calm(), dataset="digits", step=7)
    (run / "results.json").write_text(json.dumps({"command": "python", "updates": 7, "curve": [0] * 9}))
    onnx.main(onnx.Options(run, tmp_path / "out"))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["dataset"], manifest["step"]) == ("digits", 7)
    assert manifest["results"] == {"command": "python", "updates": 7}
    said = capsys.readouterr().out
    assert "NonDoublingVNCA of" in said and "its numbers as float16" in said and "cells -> next" in said


def test_facts_of_a_run_without_results(tmp_path):
    assert onnx.facts_of_run(tmp_path / "model.eqx") == {}
    (tmp_path / "results.json").write_text("[")
    assert onnx.facts_of_run(tmp_path / "model.eqx") == {}
    assert "python -m experiments.mnist_doubling" in onnx.facts_of_run(Path("pretrained:mnist_doubling"))["command"]


def test_what_is_refused(tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match=r"A dict has no export; the models are DoublingVNCA, NonDoublingVNCA, ConvVAE"
    ):
        onnx.graphs({})  # not even a model
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(InputError, match=r"needs jax2onnx, which is not installed; install it with: pip install"):
        onnx.export(nondoubling(), tmp_path, {})
