"""Counting what moves between devices: written-out HLO, and the pool's programs compiled for eight devices."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from benchmarks.collective_bytes import KINDS, array_bytes, collective_bytes
from benchmarks.cpu_devices import with_devices
from benchmarks.pool_traffic import Sizes, count_program, count_traffic, draw_from_gathered, make_pool_step
from vnca_jax import losses, parallel
from vnca_jax import pool as pools
from vnca_jax.models import NonDoublingVNCA
from vnca_jax.step import TrainState, make_optimizer, make_steps, place_state

HEADER = "HloModule jit_step, is_scheduled=true, entry_computation_layout={(f32[8]{0})->f32[8]{0}}, num_partitions=8\n"
ALL = "replica_groups={{0,1,2,3,4,5,6,7}}"
SUM = """
%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}
"""


def entry(*lines: str, computations: str = "") -> str:
    """A module whose entry has one operand %x of 8 * 25 numbers, %y of 30 bytes, and these lines."""
    body = ["%x = f32[8,25]{1,0:T(8,128)} parameter(0)", "%y = u8[30]{0} parameter(1)", *lines]
    head = "ENTRY %main.1_spmd (x: f32[8,25], y: u8[30]) -> f32[8,25] {\n"
    return HEADER + SUM + computations + head + "".join(f"  {line}\n" for line in body) + "}\n"


def computation(name: str, *lines: str) -> str:
    return (
        f"\n%{name} (p: (s32[], f32[8,25])) -> (s32[], f32[8,25]) {{\n"
        + "".join(f"  {line}\n" for line in lines)
        + "}\n"
    )


OF_200_FLOATS = [
    (f"all-gather(%x), channel_id=1, {ALL}, dimensions={{0}}", "f32[64,25]{1,0}", "all-gather", 7 * 800),
    (f"reduce-scatter(%x), {ALL}, dimensions={{0}}, to_apply=%sum", "f32[1,25]{1,0}", "reduce-scatter", 700),
    (f"all-reduce(%x), {ALL}, to_apply=%sum", "f32[8,25]{1,0}", "all-reduce", 1400),
    (f"all-to-all(%x), {ALL}, dimensions={{0}}", "f32[8,25]{1,0}", "all-to-all", 700),
    ("collective-permute(%x), source_target_pairs={{0,1},{1,0}}", "f32[8,25]{1,0}", "collective-permute", 800),
    ("collective-permute(%x), source_target_pairs={{0,0},{1,1}}", "f32[8,25]{1,0}", "collective-permute", 0),
    ("all-reduce(%x), replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%sum", "f32[8,25]", "all-reduce", 800),
    ("all-reduce(%x), replica_groups=[2,4]<=[4,2]T(1,0), to_apply=%sum", "f32[8,25]", "all-reduce", 1200),
    ("all-reduce(%x), replica_groups={}, to_apply=%sum", "f32[8,25]", "all-reduce", 1400),
    ("all-gather(%x), replica_groups={{0},{1}}, dimensions={0}", "f32[8,25]", "all-gather", 0),
    (f"all-gather(%x, %y), {ALL}, dimensions={{0}}", "(f32[64,25]{1,0}, u8[240]{0})", "all-gather", 7 * 830),
    (f"all-gather-start(f32[8,25]{{1,0}} %x), {ALL}", "(f32[8,25], /*index=1*/f32[64,25])", "all-gather", 7 * 800),
    ('add(%x, %x), metadata={op_name="all-reduce"}', "f32[8,25]", "all-reduce", 0),
]


@pytest.mark.parametrize(("call", "shape", "kind", "expected"), OF_200_FLOATS)
def test_one_operation(call, shape, kind, expected):
    found = collective_bytes(entry(f"ROOT %r.1 = {shape} {call}"))
    assert found == dict.fromkeys(KINDS, 0) | {kind: expected}


def test_a_start_stands_for_its_done():
    start = f"%s = f32[8,25] all-reduce-start(%x), {ALL}, to_apply=%sum"
    assert collective_bytes(entry(start, "ROOT %d = f32[8,25] all-reduce-done(%s)"))["all-reduce"] == 1400


def loop(name: str, body: str, trips: int | None) -> str:
    known = "" if trips is None else f', backend_config={{"known_trip_count":{{"n":"{trips}"}},"known_init_step":{{}}}}'
    return f"%{name} = (s32[], f32[8,25]) while(%x), condition=%stop, body=%{body}{known}"


def test_loops_calls_and_branches():
    """Outside 800; 5 x (700 + 3 x 1400) in nested loops; 1400 in an endless one; two branches; a call, twice."""
    reduce = f"%r = f32[8,25] all-reduce(%p), {ALL}, to_apply=%sum"
    scatter = f"%s = f32[1,25] reduce-scatter(%p), {ALL}, dimensions={{0}}, to_apply=%sum"
    p = "%p = f32[8,25] parameter(0)"
    computations = computation("stop", p) + computation("inner", p, reduce)
    computations += computation("outer", p, scatter, loop("again", "inner", 3))
    lines = [
        "%c = f32[8,25] collective-permute(%x), source_target_pairs={{0,1}}",
        loop("w", "outer", 5),
        loop("unknown", "inner", None),
        "%i = f32[8,25] conditional(%k, %x, %x), branch_computations={%inner, %outer.2}",
        "%f = f32[8,25] fusion(%x), kind=kLoop, calls=%inner",
        "ROOT %g = f32[8,25] call(%x), to_apply=%inner",
    ]
    computations += computation("outer.2", p, scatter)
    found = collective_bytes(entry(*lines, computations=computations))
    assert found["collective-permute"] == 800
    assert found["reduce-scatter"] == 5 * 700 + 700
    assert found["all-reduce"] == 5 * 3 * 1400 + 1400 + 1400 + 2 * 1400
    assert found["all-gather"] == found["all-to-all"] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            entry("ROOT %b = f32[8,25] collective-broadcast(%x), replica_groups={{0,1}}"),
            "a collective-broadcast, is not",
        ),
        (entry("ROOT %b = f32[8,25] all-gather(), dimensions={0}"), "how much %b moves"),
        (entry("ROOT %b = f32[8,25] all-gather(%x), dimensions={0}"), "groups of devices are not understood"),
        (entry("ROOT %b = f32[8,25] collective-permute(%x), channel_id=1"), "who sends to whom"),
        ("ordinary text", "no HLO module"),
    ],
)
def test_what_cannot_be_counted(text, message):
    with pytest.raises(ValueError, match=message):
        collective_bytes(text)


def test_array_bytes():
    assert array_bytes("f32[]") == 4
    assert array_bytes("bf16[3,5]{1,0:T(8,128)(2,1)}") == 30
    assert (
        array_bytes("(u8[7]{0}, /*index=1*/pred[2,2], s64[3], c64[2], f8e4m3fn[5], u4[6])") == 7 + 4 + 24 + 16 + 5 + 3
    )
    with pytest.raises(ValueError, match="'quux'"):
        array_bytes("quux[3]")


# --- the pool's programs on eight devices ----------------------------------------------------------------------------

CELL = 32
SIZES = Sizes(batch_size=16, image_size=4, image_channels=1, cell_size=CELL)
STATE = 4 * 4 * (1 + 4 * CELL)  # bytes of an image and its cells
COUNTED = ((2, 256), (8, 256), (8, 4096))


def full_pool(num_slots):
    random = np.random.default_rng(0)
    cells = random.normal(size=(num_slots, 4, 4, CELL)).astype(np.float32)
    return pools.Pool(random.integers(256, size=(num_slots, 4, 4, 1), dtype=np.uint8), cells, np.ones(num_slots, bool))


def one_pool_step(draw):
    """What a step gives with the states of a full pool, as NumPy arrays."""
    mesh, pool = parallel.make_mesh(8), full_pool(256)
    pool = parallel.place(pool, mesh, parallel.SHARDED)
    new = parallel.place((jnp.zeros((8, 4, 4, 1), jnp.uint8), jnp.zeros((8, 4, 4, CELL))), mesh, parallel.SHARDED)
    found = make_pool_step(draw, mesh, 16)(pool, *new, parallel.place(jr.key(3), mesh))
    return jax.tree.map(np.asarray, jax.tree.leaves(found))


def count_training_step():
    """What a whole training step moves on eight devices, and how many parameters its model has."""
    mesh, optimizer = parallel.make_mesh(8), make_optimizer(1e-4)
    sizes: dict[str, Any] = {
        "image_size": 4,
        "latent_size": CELL,
        "hidden_size": 5,
        "encoder_width": 2,
        "encoder_depth": 0,
    }
    model = eqx.filter_jit(NonDoublingVNCA)(**sizes, min_steps=2, max_steps=3, key=jr.key(0))
    state = TrainState(jnp.int32(0), model, optimizer.init(model), full_pool(256), jr.key(0))
    state = place_state(state, mesh)
    images = parallel.place(np.zeros((20, 4, 4, 1), np.uint8), mesh)
    take_steps = make_steps(losses.pool_loss(), optimizer, mesh, batch_size=16, max_steps=1)
    program = count_program(take_steps.lower(state, images, 1).compile())
    return program.moved, optax.tree.size(model)


def everything_on_eight_devices():
    """All that the tests below look at, since a process is slow to start."""
    traffic = {place: dataclasses.asdict(count_traffic(SIZES, *place)) for place in COUNTED}
    draws = [one_pool_step(draw) for draw in (pools.draw, draw_from_gathered)]
    return traffic, draws, count_training_step()


@pytest.fixture(scope="module")
def eight():
    return with_devices(8, everything_on_eight_devices)


@pytest.mark.slow
@pytest.mark.parametrize(("num_devices", "pool_size"), COUNTED)
def test_the_pool_moves_the_batch_and_no_more(eight, num_devices, pool_size):
    """8 states are drawn, of which a device receives its own from all others; 16 go back to all devices."""
    traffic = eight[0][num_devices, pool_size]
    others = num_devices - 1
    count = 2 * others * 4 // num_devices  # how many slots are filled
    expected = dict.fromkeys(KINDS, 0) | {"all-reduce": count}
    expected |= {
        "reduce-scatter": others * (8 // num_devices) * STATE,
        "all-gather": others * 16 * STATE // num_devices,
    }
    assert traffic["ours"]["moved"] == expected
    gathered = others * (16 + pool_size) * STATE // num_devices
    assert traffic["gathering"]["moved"] == dict.fromkeys(KINDS, 0) | {"all-reduce": count, "all-gather": gathered}


@pytest.mark.slow
def test_what_grows_with_the_pool(eight):
    small, large = (eight[0][8, pool_size] for pool_size in (256, 4096))
    assert large["ours"]["moved"] == small["ours"]["moved"]
    gathering, gathering_small = (t["gathering"]["moved"]["all-gather"] for t in (large, small))
    batch = small["ours"]["moved"]["all-gather"]
    assert gathering - batch == 16 * (gathering_small - batch)


@pytest.mark.slow
def test_memory(eight):
    for (num_devices, pool_size), traffic in eight[0].items():
        assert traffic["pool_bytes"] == pool_size // num_devices * (STATE + 1)
        key_bytes = 8
        assert traffic["ours"]["argument_bytes"] == traffic["pool_bytes"] + 8 // num_devices * STATE + key_bytes
        assert traffic["gathering"]["argument_bytes"] == traffic["ours"]["argument_bytes"]
        assert traffic["gathering"]["temporary_bytes"] >= pool_size * STATE
    small, large = (eight[0][8, pool_size] for pool_size in (256, 4096))
    growth = large["ours"]["temporary_bytes"] - small["ours"]["temporary_bytes"]
    assert growth < (large["pool_bytes"] - small["pool_bytes"]) / 4  # orders of slots, but no second pool


@pytest.mark.slow
def test_gathering_draws_the_same(eight):
    ours, gathering = eight[1]
    assert len(ours) == len(gathering) == 6
    for first, second in zip(ours, gathering, strict=True):
        np.testing.assert_array_equal(first, second)
    assert len({images.tobytes() for images in ours[3]}) == 8  # the drawn images


@pytest.mark.slow
def test_a_training_step_moves_the_pool_and_the_gradient(eight):
    """All-reduced are the gradient, the loss and three terms, and the number of filled slots."""
    moved, num_parameters = eight[2]
    expected = eight[0][8, 256]["ours"]["moved"]
    assert moved == expected | {"all-reduce": 2 * 7 * 4 * (num_parameters + 4 + 1) // 8}
