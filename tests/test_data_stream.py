"""Streamed batches against the order in which images on the devices are used."""

import threading

import jax
import jax.random as jr
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from vnca_jax import parallel
from vnca_jax.data.order import batch_order
from vnca_jax.data.stream import BatchStream, gather

NUM_IMAGES, BATCH, BLOCK = 11, 4, 3
KEY = jr.key(7)


@pytest.fixture(scope="module", autouse=True)
def _two_devices():
    parallel.use_all_cores()


@pytest.fixture
def images(tmp_path) -> np.ndarray:
    """Memory-mapped images of different pixels."""
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(256, size=(NUM_IMAGES, 2, 3, 3), dtype=np.uint8))
    return np.lib.format.open_memmap(path, mode="r")


@pytest.fixture
def stream(images):
    with BatchStream(images, batch_size=BATCH, block_steps=BLOCK, mesh=parallel.make_mesh(), key=KEY) as stream:
        yield stream


@pytest.fixture(scope="module")
def order() -> np.ndarray:
    """The images of updates 0 to 41, as one call tells; epochs end in the middle of batches and blocks."""
    return np.asarray(batch_order(KEY, 0, 42, BATCH, NUM_IMAGES))


def test_every_step_in_turn(stream, images, order):
    for step in range(9):
        block = stream.block(step)
        assert block.sharding.spec == PartitionSpec(None, parallel.AXIS) and block.shape == (BLOCK, BATCH, 2, 3, 3)
        assert np.asarray(block[step % BLOCK]).tolist() == images[order[step]].tolist()
        assert stream.steps_left(step) == (3, 2, 1)[step % BLOCK]


def test_steps_in_any_order(stream, images, order):
    for step in (40, 2, 3, 41, 0, 19, 18, 39):
        expected = images[order[step]].tolist()
        assert np.asarray(stream.block(step)[step % BLOCK]).tolist() == expected


def test_later_steps_than_int32_has_positions_for(stream, images):
    step = 1_000_000_001
    expected = images[np.asarray(batch_order(KEY, step, 1, BATCH, NUM_IMAGES))[0]].tolist()
    assert np.asarray(stream.block(step)[step % BLOCK]).tolist() == expected


def test_the_next_block_is_made_meanwhile(stream, monkeypatch):
    made, make, next_made = [], stream._make, threading.Event()

    def watched(number):
        block = make(number)
        made.append((number, threading.current_thread() is threading.main_thread()))
        if number == 6:
            next_made.set()
        return block

    monkeypatch.setattr(stream, "_make", watched)
    first = stream.block(15)
    assert next_made.wait(60)
    assert stream.block(16) is first and stream.block(17) is first
    stream.block(18)
    stream.close()
    assert made[:2] == [(5, False), (6, False)] and {number for number, _ in made[2:]} <= {7}


class Failing(np.ndarray):
    """Images of which some places cannot be read."""

    broken = True

    def __getitem__(self, places):
        if Failing.broken and np.size(places) > 1:
            raise OSError(5, "Input/output error")
        return np.asarray(self)[places]


def test_what_the_thread_raises_is_raised_here(images, order, monkeypatch):
    with BatchStream(
        images.view(Failing), batch_size=BATCH, block_steps=BLOCK, mesh=parallel.make_mesh(), key=KEY
    ) as s:
        with pytest.raises(OSError, match="Input/output error"):
            s.block(4)
        monkeypatch.setattr(Failing, "broken", False)
        assert np.asarray(s.block(4)[1]).tolist() == images[order[4]].tolist()
        monkeypatch.setattr(Failing, "broken", True)
        s._blocks.clear()
        with pytest.raises(OSError, match="Input/output error"):
            s.block(6)


def test_no_thread_is_left(images):
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]

    stream = BatchStream(images, batch_size=BATCH, block_steps=BLOCK, mesh=parallel.make_mesh(), key=KEY)
    stream.block(0)
    assert len(threads()) == 1
    stream.close()
    assert threads() == []
    with pytest.raises(RuntimeError, match="after shutdown"):
        stream.block(0)


def test_gather(images):
    indices = np.array([[3, 3, 10], [0, 9, 3]])
    assert gather(images, indices).tolist() == [[images[i].tolist() for i in row] for row in indices]
    reads = []

    class Watched(np.ndarray):
        def __getitem__(self, places):
            reads.append(np.asarray(places).tolist())
            return np.asarray(self)[places]

    gather(images.view(Watched), indices)
    assert reads == [[0, 3, 3, 3, 9, 10]]


def test_same_batches_on_one_device(images, order):
    with BatchStream(images, batch_size=BATCH, block_steps=2, mesh=parallel.make_mesh(1), key=KEY) as stream:
        assert np.asarray(stream.block(5)).tolist() == images[order[4:6]].tolist()
        assert stream.block(5).devices() == {jax.devices()[0]}
