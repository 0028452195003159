"""The ablations: what each variation changes, and the table of a few runs in miniature."""

import json
import sys

import equinox as eqx
import jax.random as jr
import numpy as np
import pytest

from experiments import ablations, cli
from experiments.variations import VARIATIONS, varied
from vnca_jax.models import DoublingVNCA
from vnca_jax.update_networks import GatedUpdate, GRUUpdate

BASE = ablations.PRESETS["cpu"]
COLOURS = {"dataset": "coloured_digits", "latent-size": 40, "image-channels": 3}


@pytest.mark.parametrize("name", VARIATIONS)
def test_a_variation_changes_what_it_says_and_nothing_else(name):
    before, after = cli.as_flags(BASE), cli.as_flags(varied(BASE, name, 7))
    changed = {flag: after[flag] for flag in after if flag not in before or before[flag] != after[flag]}
    assert (changed.pop("seed"), changed.pop("name")) == (7, f"cpu/{name}/7")
    expected = {
        "deeper": {"num-blocks": 4},
        "wider": {"hidden-size": 32},
        "larger_latent": {"latent-size": 32},
        "batch_4": {"batch-size": 4},
        "batch_128": {"batch-size": 128},
        "neighbour": {"update-network": "neighbour"},
        "one_per_scale": {"one-per-scale": True},
        "gru": {"update-network": "gru"},
        "gated": {"update-network": "gated"},
        "half_frozen": {"update-network": "half_frozen"},
        "colours_1": {**COLOURS, "num-mixtures": 1},
        "colours_4": {**COLOURS, "num-mixtures": 4},
    }
    assert changed == expected.get(name, {})


def test_models_of_the_variations():
    def model_of(name):
        return eqx.filter_eval_shape(DoublingVNCA, varied(BASE, name, 0).model, key=jr.key(0))

    assert isinstance(model_of("gru").update, GRUUpdate) and isinstance(model_of("gated").update, GatedUpdate)
    networks = model_of("one_per_scale").update
    assert isinstance(networks, tuple) and len(networks) == BASE.model.num_doublings + 1
    assert model_of("colours_4").likelihood.num_outputs(3) == 40


@pytest.mark.long
def test_the_table(tmp_path, monkeypatch, capsys):
    """Two variations of two seeds: the printed means and errors are those of the runs' results."""
    flags = "--variations as_it_is gated --seeds 0 1 --num-updates 2 --cooldown-updates 0 --limit 6 --num-samples 4"
    flags += " --latent-size 4 --hidden-size 4 --encoder-width 4 --steps-per-doubling 1 --num-blocks 1 --batch-size 8"
    monkeypatch.setattr(sys, "argv", ["ablations", "--out", str(tmp_path), *flags.split()])
    for _ in range(2):  # the second time all is read
        cli.main("experiments.ablations", ablations.__doc__, ablations.PRESETS, ablations.main)
    folder = tmp_path / "ablations" / "cpu"
    rows = json.loads((folder / "table.json").read_text())["rows"]
    bounds = {
        name: np.array(
            [
                json.loads((folder / name / str(seed) / "results.json").read_text())["evaluation"]["terms"]["iwelbo"][
                    "nats"
                ][0]
                for seed in (0, 1)
            ]
        )
        for name in ("as_it_is", "gated")
    }
    said = capsys.readouterr().out
    for name, values in bounds.items():
        np.testing.assert_array_equal([mean for mean, _ in rows[name]["iwelbo"]], values)
        assert f"{values.mean():.2f} +- {abs(values[0] - values[1]) / 2:.2f}" in said
    assert rows["gated"]["parameters"] == rows["as_it_is"]["parameters"] + 1


def test_refusals(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ablations", "--variations", "lstm"])
    with pytest.raises(SystemExit) as ended:
        cli.main("experiments.ablations", ablations.__doc__, ablations.PRESETS, ablations.main)
    assert ended.value.code == 2
    assert "--variations names 'lstm'" in capsys.readouterr().err.replace("\n", " ")
