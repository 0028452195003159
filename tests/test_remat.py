"""What is kept for the gradient: the plan by hand, and that computing again changes the memory and not the gradient."""

import dataclasses
import math
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import tiny_training

from vnca_jax import bounds, conv, losses, remat, update_networks
from vnca_jax.compute import Compute, Device, choose
from vnca_jax.likelihoods import Bernoulli
from vnca_jax.models import VAE, DoublingVNCA, replace
from vnca_jax.remat import Plan


@dataclasses.dataclass(frozen=True)
class ToySizes:
    """None."""


class Toy(VAE):
    """sin(x W) with ten numbers of x and ninety of the product: 400 bytes kept, 40 if the product is computed again."""

    weight: jax.Array
    likelihood: Bernoulli
    compute: Compute = eqx.field(static=True)
    sizes: ToySizes = eqx.field(static=True)

    def __init__(self, *, compute, key):
        del key
        self.weight, self.compute, self.sizes = jnp.ones((10, 90)), compute, ToySizes()
        self.likelihood = Bernoulli()

    def encode(self, x):
        raise NotImplementedError

    def decode(self, z):
        raise NotImplementedError


def toy_loss(model, examples):
    def step(x):
        return jnp.sin(x @ model.weight)

    return (jax.checkpoint(step) if model.compute.recompute else step)(examples).sum(), examples


def planned(num_examples=12, chunk_size=None, loss=toy_loss, **room):
    model = Toy(compute=Compute("float32", "lax", **room), key=jr.key(0))
    return remat.plan(loss, model, jnp.ones((num_examples, 10)), chunk_size=chunk_size)


def test_counts_by_hand():
    """The one dot has ten numbers in and ninety out."""
    model, x = Toy(compute=Compute("float32", "lax"), key=jr.key(0)), jnp.ones((5, 10))
    assert remat.kept_bytes(toy_loss, model, x) == 400
    assert remat.kept_bytes(remat.recomputing(toy_loss), model, x) == 40
    assert [remat.at_once(toy_loss, model, x, cache) for cache in (1, 18 * 400, 19 * 400 - 1, 19 * 400)] == [
        *(18, 18, 18, 19)  # 18 move twice the 3,600 bytes of W
    ]


@pytest.mark.parametrize(
    ("kept_bytes", "chunk_size", "expected"),
    [
        (None, None, Plan(12, False)),
        (12 * 400, None, Plan(12, False)),
        (12 * 400 - 1, None, Plan(12, True)),
        (12 * 40, None, Plan(12, True)),
        (12 * 40 - 1, None, Plan(6, True)),
        (12 * 40, 4, Plan(4, True)),
        (4 * 400, 4, Plan(4, False)),
        (4 * 400, 5, Plan(4, True)),
        (1, None, Plan(1, False)),
    ],
)
def test_an_accelerator_s_plan_for_twelve_examples(kept_bytes, chunk_size, expected):
    """It takes all of them, and computes steps again where they could not be kept."""
    assert planned(chunk_size=chunk_size, kept_bytes=kept_bytes) == expected


def test_a_cpu_s_chunk_outweighs_the_weights(monkeypatch):
    """W has 3,600 bytes, and its dot 400 an example, so that 9 of them are as much, and 6 is the next divisor."""
    for least, expected in ((0, 1), (1 / 3, 3), (1, 6), (2, 12)):
        monkeypatch.setattr(remat, "OF_WEIGHTS", least)
        assert planned(cache_bytes=1) == Plan(expected, False)
        assert planned(cache_bytes=1, kept_bytes=400) == Plan(1, False)


@pytest.mark.parametrize(
    ("cache_bytes", "kept_bytes", "chunk_size", "expected"),
    [
        (12 * 400, None, None, Plan(12, False)),
        (12 * 400 - 1, None, None, Plan(6, False)),
        (5 * 400, None, None, Plan(4, False)),
        (1, None, None, Plan(1, False)),
        (1, 1, 12, Plan(12, False)),
        (12 * 400, 12 * 400 - 1, None, Plan(6, False)),
        (6 * 400, 12 * 400, None, Plan(6, False)),
        (12 * 400, 1, None, Plan(1, False)),
    ],
)
def test_a_cpu_s_plan_for_twelve_examples(cache_bytes, kept_bytes, chunk_size, expected, monkeypatch):
    """As many as fit its cache, and never more than it may keep."""
    monkeypatch.setattr(remat, "OF_WEIGHTS", 0)
    assert planned(chunk_size=chunk_size, kept_bytes=kept_bytes, cache_bytes=cache_bytes) == expected


def test_a_model_without_steps_gains_nothing():
    def loss(model, examples):
        return jnp.sin(examples @ model.weight).sum(), examples

    assert planned(loss=loss, kept_bytes=6 * 400) == Plan(6, False)


def elbo_loss(model, examples):
    terms = bounds.elbo(model, *examples)
    return -terms.elbo.mean(), terms


def shapes_for(model, count):
    image = (count, model.image_size, model.image_size, model.image_channels)
    return jax.ShapeDtypeStruct(image, jnp.float32), jax.ShapeDtypeStruct((count, model.latent_size), jnp.float32)


def test_the_paper_s_steps_fit():
    """The doubling step with a batch of 32 keeps 3.6 GB in float32: all of it on an H100, and of 4 on a v5e core.

    Of a cell of the automaton it keeps the cells, three times four and twice one layer of 256 numbers.
    """
    for memory_bytes, count, expected in ((80 << 30, 32, False), (16 << 30, 4, False), (6 << 30, 32, True)):
        how = choose(Device("gpu", memory_bytes=memory_bytes), dtype="float32")
        skeleton = eqx.filter_eval_shape(DoublingVNCA, compute=how, key=jr.key(0))
        assert remat.plan(elbo_loss, skeleton, shapes_for(skeleton, count)) == Plan(count, expected)
    automaton_bytes = 4 * 8 * 1364 * 10 * 256
    assert automaton_bytes < remat.kept_bytes(elbo_loss, skeleton, shapes_for(skeleton, 1)) < 1.01 * automaton_bytes


class Far(eqx.Module):
    """A network of a user's own: 5x5 cells, one dense layer, and a product that keeps both of its factors."""

    look: conv.Conv
    think: conv.Dense

    def __init__(self, cell_size, hidden_size, num_blocks, *, key):
        del num_blocks
        look_key, think_key = jr.split(key)
        self.look = conv.Conv(cell_size, hidden_size, 5, padding=2, key=look_key)
        self.think = conv.Dense(hidden_size, cell_size, key=think_key)

    def __call__(self, cells):
        return 0.1 * self.think(conv.elu(self.look(cells))) * cells


@pytest.mark.parametrize("name", [*update_networks.UPDATE_NETWORKS, "far"])
def test_every_update_network(name, monkeypatch):
    """What the gradient of 3 examples holds in arrays beyond that of 2, for each network, a user's own included."""
    monkeypatch.setitem(update_networks.UPDATE_NETWORKS, "far", Far)
    sizes = {"num_doublings": 1, "steps_per_doubling": 2, "num_blocks": 2, "update_network": name}
    model = tiny_training.tiny_vnca(**sizes, latent_size=3, hidden_size=5, compute=Compute("float32", "lax"))

    def held(count):
        examples = jax.tree.map(lambda x: jnp.ones(x.shape), shapes_for(model, count))
        residuals = jax.jit(lambda model: jax.vjp(lambda model: elbo_loss(model, examples), model, has_aux=True)[1])
        return sum(leaf.nbytes for leaf in jax.tree.leaves(residuals(model)))

    assert remat.kept_bytes(elbo_loss, model, shapes_for(model, 1)) == held(3) - held(2)


def test_dots_of_a_growth_by_hand():
    """Of each of T steps at 4x4 cells: a 3x3 convolution of 3 numbers to 5, whose patches have 27, and a dot back."""
    how = Compute("float32", "gather")
    model = tiny_training.tiny_nondoubling(latent_size=3, hidden_size=5, num_steps=7, compute=how)
    z = jax.ShapeDtypeStruct((1, 3), jnp.float32)
    decode = lambda model, z: model.decode(z)  # noqa: E731
    cells, weights = 16 * (27 + 5 + 5 + 3), 27 * 5 + 5 * 3
    largest = 4 * 16 * (27 + 5)
    assert math.ceil(2 * weights / cells) == 1
    found = [remat.at_once(decode, model, z, size) for size in (1, 2 * largest - 1, 2 * largest, 9 * largest)]
    assert found == [1, 1, 2, 9]


def test_recomputing_changes_the_memory_and_not_the_gradient():
    sizes = {"latent_size": 8, "hidden_size": 16, "num_steps": 24, "max_steps": 24, "num_blocks": 2, "image_size": 16}
    model = tiny_training.tiny_nondoubling(**sizes)
    x = jnp.asarray(np.random.default_rng(0).integers(2, size=(4, 16, 16, 1)), jnp.float32)
    noise = jnp.asarray(np.random.default_rng(1).normal(size=(4, 8)), jnp.float32)

    def compiled(again):
        chosen = replace(model, compute=Compute("float32", "winograd", recompute=again))
        gradient = jax.jit(jax.grad(lambda model: bounds.elbo(model, x, noise).elbo.mean())).lower(chosen).compile()
        found: Any = gradient.memory_analysis()
        return found.temp_size_in_bytes, gradient(chosen)

    (kept_bytes, kept), (again_bytes, again) = compiled(False), compiled(True)
    assert again_bytes < 0.4 * kept_bytes
    counted = [4 * remat.kept_bytes(loss, model, (x, noise)) for loss in (elbo_loss, remat.recomputing(elbo_loss))]
    assert counted[0] < kept_bytes < 1.5 * counted[0]
    assert counted[1] < again_bytes < 2.5 * counted[1]  # with the inside of a step, there and back
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * float(jnp.abs(one).max()))


def test_a_loss_does_as_planned(monkeypatch):
    """What the plan says is what the model of a chunk's loss does; its gradient is that of the model that came in."""
    found, first = [], tiny_training.tiny_nondoubling()

    def loss(model, _, chunk):
        found.append((len(chunk[0]), model.compute.recompute))
        return chunk[0].mean() * model.update.out.sum(), chunk[0]

    monkeypatch.setattr(remat, "plan", lambda loss, model, examples, chunk_size: Plan(2, chunk_size == 5))
    for chunk_size in (5, 6):
        given = {"posterior": (), "examples": (jnp.zeros((4, 1)),), "chunk_size": chunk_size}
        value = partial(losses.mean_over_chunks, loss, **given)
        gradient, _ = jax.eval_shape(jax.grad(value, has_aux=True), first)
        assert jax.tree.structure(gradient) == jax.tree.structure(first)
    assert set(found) == {(2, True), (2, False)} and not first.compute.recompute
