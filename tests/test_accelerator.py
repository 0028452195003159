"""The accelerator benchmark: its roofline by hand, its parts against the whole step, and a run in miniature."""

import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks import accelerator
from benchmarks.accelerator import Options, Peak, Timing
from benchmarks.accelerator_parts import bound_part, parts_of_step
from benchmarks.flops import count_flops
from vnca_jax import bounds
from vnca_jax.compute import Compute
from vnca_jax.errors import InputError


@pytest.fixture(scope="module")
def cases():
    return accelerator.cases("small", Compute("float32", "lax"))


def test_roofline_by_hand():
    peak = Peak(flops=100.0, bandwidth=10.0)
    assert peak.roofline(1000.0, 50.0) == (10.0, "arithmetic")
    assert peak.roofline(1000.0, 150.0) == (15.0, "memory")


def test_rows_by_hand():
    timing = Timing(seconds=0.5, compile_s=2.0, temporary_gib=0.1)
    row = accelerator.row("a", timing, flops=3.0, peak_flops=12.0, more=1)
    assert (row["flops_a_second"], row["share_of_peak"], row["compile_s"], row["more"]) == (6.0, 0.5, 2.0, 1)


@pytest.mark.parametrize("name", ["doubling", "nondoubling", "baseline"])
def test_the_parts_are_the_whole(name, cases):
    """Their FLOPs add up to those of the ELBO's gradient, and of the pixels' gradient, which training does not take."""
    model, num_images = cases[name].model, 4

    def loss(model, x, noise):
        return bounds.elbo(model, x, noise).elbo.sum()

    size, width = model.image_size, model.encoder.convs[0].weight.shape[-1]
    x, noise = jnp.zeros((num_images, size, size, 1)), jnp.zeros((num_images, model.latent_size))
    whole = count_flops(jax.grad(loss), model, x, noise)
    parts = sum(part.flops for part in parts_of_step(model, num_images))
    first_side = size + 2 * model.encoder.convs[0].padding - 4
    pixels = 2 * 25 * num_images * first_side**2 * width
    assert parts == pytest.approx(whole + pixels, rel=2e-3)


def test_a_bound_decodes_k_times(cases):
    model = cases["doubling"].model
    flops = [bound_part(model, 3, k, 2).flops for k in (2, 4, 8)]
    assert flops[2] - flops[1] == 2 * (flops[1] - flops[0]) > 0
    assert flops[1] - flops[0] == count_flops(lambda z: model.decode(z), jnp.zeros((6, model.latent_size)))


@pytest.mark.long
def test_in_miniature(tmp_path, capsys):
    path = tmp_path / "accelerator.json"
    accelerator.main(Options(size="small", only=("baseline", "iwelbo"), repeats=1, num_devices=1, json=path))
    found, printed = json.loads(path.read_text()), capsys.readouterr().out
    assert [x["name"] for x in found["programs"]] == ["baseline step, batch 16", found["programs"][1]["name"]]
    assert [x["name"] for x in found["parts"]] == [
        f"baseline: {part}" for part in ("encoder", "decoder", "likelihood", "clip and Adam")
    ]
    for x in (*found["programs"], *found["parts"]):
        assert x["flops_a_second"] == pytest.approx(x["flops"] / x["seconds"])
        assert 0 <= x["share_of_peak"] < 2 and x["seconds"] > 0 and x["compile_s"] > 0
        assert x["name"] in printed
    peak = found["peaks"]["one_device"]
    for x in found["parts"]:
        fewest = max(x["flops"] / peak["flops"], x["bytes"] / peak["bandwidth"])
        assert x["roofline_s"] == pytest.approx(fewest)
    assert found["parts"][-1]["bound_by"] == "memory"  # Adam


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="--repeats is 0 but must be at least 1"):
        accelerator.main(Options(repeats=0))
    with pytest.raises(InputError, match="is not a folder you can write to"):
        accelerator.main(Options(json=tmp_path / "nowhere" / "a.json"))
