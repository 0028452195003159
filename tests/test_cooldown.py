"""The end of a run at a falling step size."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from vnca_jax import parallel
from vnca_jax.errors import InputError
from vnca_jax.train import TrainConfig, fit

IMAGES = np.ones((5, 1, 1, 1), np.uint8)


def slope(model, carry, batch, key):
    """A loss with gradient 1, for which Adam's step is its step size."""
    return model["w"].sum(), (carry, {})


def run(folder, num_updates, cooldown_updates):
    folder.mkdir(exist_ok=True)
    seen = []
    state = fit(
        slope,
        {"w": jnp.zeros(1)},
        None,
        IMAGES,
        config=TrainConfig(num_updates, 1, 0.5, cooldown_updates, report_every=1),
        mesh=parallel.make_mesh(1),
        directory=folder,
        key=jr.key(0),
        report=lambda step, model: seen.append(float(model["w"][0])),
    )
    return state, np.array(seen)


def test_step_sizes(tmp_path):
    """The steps of a run at a constant step size, scaled by the rate; float32 holds the path to 2e-7."""
    _, constant = run(tmp_path / "a", 8, 0)
    _, cooled = run(tmp_path / "b", 8, 4)
    np.testing.assert_allclose(np.diff(constant, prepend=0), -0.5, rtol=2e-5)  # Adam's bias correction in float32
    rates = np.array([1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(np.diff(cooled, prepend=0), rates * np.diff(constant, prepend=0), rtol=0, atol=5e-7)


def test_a_run_can_be_cooled_down_later(tmp_path):
    """Constant until update 3 and then asked to end with a cooldown: the bits of a run that was asked so at first."""
    at_once, _ = run(tmp_path / "a", 8, 4)
    run(tmp_path / "b", 3, 0)
    later, _ = run(tmp_path / "b", 8, 4)
    np.testing.assert_array_equal(later.model["w"], at_once.model["w"])


@pytest.mark.parametrize("cooldown", [-1, 11])
def test_impossible_cooldown(cooldown):
    with pytest.raises(InputError, match=rf"--cooldown-updates is {cooldown}, but must be from 0 to --num-updates"):
        TrainConfig(num_updates=10, cooldown_updates=cooldown)
