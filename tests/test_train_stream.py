"""A dataset that does not fit on a device trains to the same bits as one that does."""

import numpy as np
import pytest
import tiny_training

from vnca_jax import parallel
from vnca_jax.data import stream
from vnca_jax.train import split_seed

NUM_UPDATES = 11  # past the first epoch of 21 images in batches of 8, and past two blocks of four updates


@pytest.mark.long
def test_the_same_bits(tmp_path, monkeypatch):
    resident = tiny_training.run(tmp_path / "resident", NUM_UPDATES)
    monkeypatch.setitem(stream.DEVICE_BYTES, "cpu", 0)
    monkeypatch.setattr(stream, "BLOCK_BYTES", 4 * tiny_training.BATCH * tiny_training.IMAGES[0].nbytes)
    tiny_training.run(tmp_path / "streamed", 6)  # stops inside a block
    streamed = tiny_training.run(tmp_path / "streamed", NUM_UPDATES)
    expected, found = tiny_training.numbers(resident), tiny_training.numbers(streamed)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_what_fits_stays_on_the_devices(monkeypatch):
    images, mesh = tiny_training.IMAGES, parallel.make_mesh(1)
    key = split_seed(0).train
    monkeypatch.setitem(stream.DEVICE_BYTES, "cpu", images.nbytes)
    resident = stream.make_source(images, batch_size=8, mesh=mesh, key=key)
    assert isinstance(resident, stream.Resident)
    np.testing.assert_array_equal(resident.block(5), images)
    monkeypatch.setitem(stream.DEVICE_BYTES, "cpu", images.nbytes - 1)
    streamed = stream.make_source(images, batch_size=8, mesh=mesh, key=key)
    assert streamed.block_steps == stream.BLOCK_BYTES // (8 * images[0].nbytes)
    streamed.close()
