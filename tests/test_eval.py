"""Evaluation by hand, and what its command line refuses."""

import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training
import tyro

from vnca_jax import bounds, parallel
from vnca_jax import eval as evaluation
from vnca_jax.checkpoint import export_model
from vnca_jax.errors import InputError, reported
from vnca_jax.train import split_seed

IMAGES = tiny_training.IMAGES[:5, 2:6, 2:6]


def test_against_one_image_at_a_time():
    """log 1/K sum of p(x|z) p(z) / q(z|x) in float64 for each image, its samples from fold_in(fold_in(key, i), k)."""
    model, key, num_samples = tiny_training.tiny_vnca(), split_seed(3).evaluate, 6
    found = evaluation.evaluate(model, IMAGES, num_samples=num_samples, seed=3, mesh=parallel.make_mesh(1))
    keys = jax.vmap(lambda i: jax.vmap(lambda k: jr.fold_in(jr.fold_in(key, i), k))(jnp.arange(num_samples)))(
        jnp.arange(5)
    )
    noise = np.asarray(jax.vmap(lambda keys: bounds.sample_noise(keys, 4))(keys), np.float64)
    x = jnp.asarray(IMAGES, jnp.float32)
    mean, log_variance = (np.asarray(a, np.float64)[:, None] for a in model.encode(x))
    z = mean + np.exp(log_variance / 2) * noise
    logits = np.asarray(model.decode(jnp.asarray(z, jnp.float32)), np.float64)
    log_px = -np.logaddexp(0, (1 - 2 * np.asarray(x, np.float64))[:, None] * logits).sum(axis=(2, 3, 4))
    log_ratio = (-(z**2) / 2 + noise**2 / 2 + log_variance / 2).sum(axis=-1)
    iwelbo = np.logaddexp.reduce(log_px + log_ratio, axis=1) - np.log(num_samples)
    kl = (mean**2 + np.exp(log_variance) - 1 - log_variance)[:, 0].sum(axis=-1) / 2
    expected = {"iwelbo": iwelbo, "elbo": log_px.mean(axis=1) - kl, "log_px_given_z": log_px.mean(axis=1), "kl": kl}
    for name, values in expected.items():
        np.testing.assert_allclose(found.terms[name], (values.mean(), values.std(ddof=1) / np.sqrt(5)), rtol=2e-6)
    bits = found.as_json()["terms"]["iwelbo"]["bits_per_dimension"]
    np.testing.assert_allclose(bits, np.array([-1, 1]) * found.terms["iwelbo"] / (16 * np.log(2)))
    assert f"{iwelbo.mean():.2f} +- {iwelbo.std(ddof=1) / np.sqrt(5):.2f}" in found.table()
    assert "over 5 test images of 4x4x1 pixels, 6 samples each, seed 3" in found.table()


@pytest.mark.parametrize(
    ("samples", "count", "sentence"),
    [
        (0, 5, "`num_samples` is 0, but must be at least 1."),
        (-1, 5, "`num_samples` is -1, but must be at least 1."),
        (2, 1, "the number of test images is 1, but must be at least 2."),
    ],
)
def test_nothing_to_evaluate(samples, count, sentence):
    mesh = parallel.make_mesh(1)
    with pytest.raises(InputError, match=sentence):
        evaluation.evaluate(tiny_training.tiny_vnca(), IMAGES[:count], num_samples=samples, seed=0, mesh=mesh)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--ckpt", "{tmp}/none.eqx"], "There is no file {tmp}/none.eqx"),
        (["--ckpt", "{tmp}"], "{tmp} holds no model.eqx"),
        (["--ckpt", "{tmp}/foreign.eqx"], "is not a model of this project"),
        (["--ckpt", "{tmp}/tiny.eqx", "--limit", "1"], "--limit is 1, but must be at least 2."),
        (["--ckpt", "{tmp}/tiny.eqx", "--num-samples", "0"], "--num-samples is 0, but must be at least 1."),
        (["--ckpt", "{tmp}/tiny.eqx", "--num-steps", "9"], "holds a DoublingVNCA, whose steps are fixed; leave"),
        (["--ckpt", "{tmp}/nondoubling.eqx", "--num-steps", "0"], "--num-steps is 0, but must be at least 1."),
        (["--ckpt", "{tmp}/tiny.eqx", "--json", "{tmp}/no/x.json"], "there is no folder {tmp}/no; make it first."),
        (["--ckpt", "{tmp}/tiny.eqx", "--dataset", "digitz"], "did you mean 'digits'"),
        (["--ckpt", "{tmp}/tiny.eqx"], "8x8 pixels, which cannot be centred in 4x4"),
        (["--ckpt", "{tmp}/bare.eqx"], "does not say which dataset it was trained on"),
        (["--ckpt", "{tmp}/tiny.eqx", "--sede", "1"], "--sede"),
    ],
)
def test_refusals(flags, sentence, tmp_path, capsys):
    (tmp_path / "foreign.eqx").write_bytes(b"\x80\x04something else")
    export_model(tmp_path / "bare.eqx", tiny_training.tiny_vnca())
    export_model(tmp_path / "tiny.eqx", tiny_training.tiny_vnca(), dataset="digits", step=7)
    export_model(tmp_path / "nondoubling.eqx", tiny_training.tiny_nondoubling(), dataset="digits")
    with pytest.raises(SystemExit) as ended, reported():
        evaluation.main(tyro.cli(evaluation.Options, args=[flag.format(tmp=tmp_path) for flag in flags]))
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert sentence.format(tmp=tmp_path) in said
    assert sys.exc_info()[0] is None


def test_num_steps(tmp_path, capsys):
    """A non-doubling model's bound is the one of the steps asked for, and names them."""
    model = tiny_training.tiny_nondoubling(image_size=8, num_steps=3)
    export_model(tmp_path / "model.eqx", model, dataset="digits")
    said = []
    for flags in ([], ["--num-steps", "5"]):
        args = ["--ckpt", str(tmp_path / "model.eqx"), "--limit", "3", "--num-samples", "2", "--num-devices", "1"]
        found = evaluation.main(tyro.cli(evaluation.Options, args=args + flags))
        other = tiny_training.tiny_nondoubling(image_size=8, num_steps=5 if flags else 3)
        images = evaluation.data.load("digits").some_test_images(3)
        expected = evaluation.evaluate(other, images, num_samples=2, seed=0, mesh=parallel.make_mesh(1))
        assert found.terms == expected.terms
        said.append(capsys.readouterr().out)
        assert f"T = {other.num_steps} NCA steps" in said[-1] and found.as_json()["num_steps"] == other.num_steps
    assert said[0] != said[1]
