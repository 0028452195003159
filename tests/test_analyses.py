"""The analyses of trained models, in miniature, as a user runs them: tables, pictures, and what they refuse."""

import dataclasses
import json
import sys

import jax.random as jr
import numpy as np
import pytest
from PIL import Image
from tiny_training import tiny_nondoubling, tiny_vnca

from experiments import (
    analysis,
    cell_channels,
    cli,
    damage_during_growth,
    latent_space,
    linear_probe,
    mnist_baseline,
    mnist_doubling,
)
from vnca_jax.checkpoint import export_model, import_model
from vnca_jax.models import ConvVAE

ANALYSES = {
    cell_channels: ["--num-images", "40"],
    damage_during_growth: ["--num-samples", "20"],
    latent_space: ["--num-images", "100", "--num-draws", "2", "--perplexity", "5", "--num-interpolations", "2"],
    linear_probe: ["--num-images", "100", "--num-splits", "2", "--cells-per-image", "2"],
}
PICTURES = {
    cell_channels: {"channels_of_one.png", "channels_by_digit.png", "components.png"},
    damage_during_growth: {"vnca.png", "baseline.png"},
    latent_space: {"interpolation.png", "t-sne.png", "pca.png"},
    linear_probe: {"accuracy_map.png", "predicted_digits.png", "accuracy_by_step.png"},
}
TWO_MODELS = (damage_during_growth, latent_space)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A VNCA of each kind and a baseline for the digits, untrained."""
    folder = tmp_path_factory.mktemp("models")
    baseline = ConvVAE(image_size=8, latent_size=4, encoder_width=2, encoder_depth=1, key=jr.key(0))
    made = {"vnca": tiny_vnca(num_doublings=2), "baseline": baseline, "nondoubling": tiny_nondoubling()}
    for name, model in made.items():
        export_model(folder / f"{name}.eqx", model, dataset="digits", step=0, experiment=name)
    export_model(folder / "other.eqx", baseline, dataset="binarized_mnist", step=0, experiment="baseline")
    return folder


def run(module, monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, args)])
    cli.main(module.__name__, module.__doc__, module.PRESETS, module.main)


def checkpoints(module, models):
    given = ["--ckpt", models / "vnca.eqx"]
    return [*given, "--baseline-ckpt", models / "baseline.eqx"] if module in TWO_MODELS else given


@pytest.mark.long
@pytest.mark.parametrize("module", ANALYSES, ids=lambda module: module.__name__.split(".")[1])
def test_what_an_analysis_writes(module, models, tmp_path, monkeypatch, capsys):
    run(module, monkeypatch, "--out", tmp_path, *checkpoints(module, models), *ANALYSES[module])
    name = module.__name__.split(".")[1]
    results = json.loads((tmp_path / name / "cpu" / "results.json").read_text())
    assert (results["analysis"], results["dataset"], results["seed"]) == (name, "digits", 0)
    _, header = import_model(models / "vnca.eqx")
    assert results["models"][0] == {"path": str(models / "vnca.eqx"), "model": "DoublingVNCA", "step": 0} | {
        "sha256": header["sha256"]
    }
    said = capsys.readouterr().out
    assert " +- " in said or "%" in said
    pictures = {path.name: path for path in (tmp_path / name / "cpu" / "figures").iterdir()}
    assert set(pictures) == PICTURES[module]
    for path in pictures.values():
        assert str(path) in said
        assert len(np.unique(np.asarray(Image.open(path)))) > 2


@pytest.mark.long
def test_the_numbers_that_are_printed_are_those_that_are_saved(models, tmp_path, monkeypatch, capsys):
    module = damage_during_growth
    run(module, monkeypatch, "--out", tmp_path, *checkpoints(module, models), *ANALYSES[module], "--name", "x")
    saved = json.loads((tmp_path / "damage_during_growth" / "x" / "results.json").read_text())["percent_of_full_scale"]
    said = capsys.readouterr().out
    for moments in saved.values():
        for parts in moments.values():
            for mean, error in parts.values():
                assert f"{mean:.2f} +- {error:.2f}" in said


@pytest.mark.parametrize(
    ("module", "args", "sentence"),
    [
        (linear_probe, ["--ckpt", "/nowhere"], "There is no file /nowhere"),
        (linear_probe, ["--num-images", "5"], "--num-images is 5, but must be at least 100."),
        (latent_space, ["--num-draws", "1"], "--num-draws is 1, but must be at least 2."),
        (latent_space, ["--perplexity", "200"], "--perplexity is 200.0, but must be above 1 and below"),
        (latent_space, ["--ckpt", "MODELS/vnca.eqx", "--baseline-ckpt", "MODELS/other.eqx"], "different data"),
        (
            latent_space,
            ["--baseline-ckpt", "MODELS/other.eqx"],
            "and experiments.mnist_doubling --preset cpu, yet to be trained, on digits; choose models of one dataset.",
        ),
        (cell_channels, ["--ckpt", "MODELS/vnca.eqx", "--out", "/proc/runs"], "/proc/runs"),
        *[
            (module, ["--ckpt", "MODELS/baseline.eqx"], "baseline.eqx, a ConvVAE, but must have a VNCA: give a run of")
            for module in (cell_channels, latent_space, linear_probe)
        ],
        (
            damage_during_growth,
            ["--ckpt", "MODELS/nondoubling.eqx"],
            "a NonDoublingVNCA, but must have a DoublingVNCA:",
        ),
        (
            latent_space,
            ["--ckpt", "MODELS/vnca.eqx", "--baseline-ckpt", "MODELS/vnca.eqx"],
            "--baseline-ckpt has MODELS/vnca.eqx, a DoublingVNCA, but must have a ConvVAE: give a run of",
        ),
    ],
)
def test_refusals(module, args, sentence, models, tmp_path, monkeypatch, capsys):
    args = [arg.replace("MODELS", str(models)) for arg in args]
    with pytest.raises(SystemExit) as ended:
        run(module, monkeypatch, "--out", tmp_path, *args)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert sentence.replace("MODELS", str(models)) in said.replace("\n", " ") and "Traceback" not in said


def test_without_a_checkpoint_the_preset_is_trained_once(tmp_path, monkeypatch, capsys):
    """With the real presets' mains replaced by ones that write an untrained model."""
    trained = []

    def main_of(name, model):
        def main(config):
            trained.append((name, config.run.preset))
            folder = config.run.out / name / config.run.preset
            folder.mkdir(parents=True)
            export_model(folder / "model.eqx", model, dataset="digits", step=1, experiment=name)

        return main

    baseline = ConvVAE(image_size=8, latent_size=4, encoder_width=2, encoder_depth=1, key=jr.key(0))
    monkeypatch.setattr(mnist_doubling, "main", main_of("mnist_doubling", tiny_vnca(num_doublings=2)))
    monkeypatch.setattr(mnist_baseline, "main", main_of("mnist_baseline", baseline))
    for _ in range(2):
        run(damage_during_growth, monkeypatch, "--out", tmp_path, "--num-samples", "10")
    assert trained == [("mnist_doubling", "cpu"), ("mnist_baseline", "cpu")]
    assert "training it first" in capsys.readouterr().out


def test_every_preset_is_an_analysis():
    for module in ANALYSES:
        assert set(module.PRESETS) == {"cpu", "paper"}
        assert isinstance(module.PRESETS["paper"], analysis.Config)
        assert dataclasses.is_dataclass(module.PRESETS["paper"].analysis)
        assert f"python -m {module.__name__} --preset cpu" in (module.__doc__ or "")
