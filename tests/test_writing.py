"""Files that are written whole or not at all, and tables of text."""

import os
from pathlib import Path

import numpy as np
import pytest

from vnca_jax import parallel, writing
from vnca_jax.errors import InputError
from vnca_jax.eval import mean_and_error
from vnca_jax.text_table import aligned


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "new" / "file"
    with writing.beside(path) as part:
        part.write_text("old")
    assert path.read_text() == "old"

    def fail():
        with writing.beside(path) as part:
            part.write_text("half of the new")
            assert path.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old" and os.listdir(path.parent) == ["file"]


def test_what_cannot_be_written_is_one_sentence():
    with pytest.raises(InputError, match=r"^/proc/none/file cannot be written \(.*\); choose another folder.$"):
        writing.write_text(Path("/proc/none/file"), "")


def test_aligned():
    found = aligned(("cells", "share"), [("left half", "7.50"), ("all", "12.00")])
    assert found.splitlines() == ["cells      share", "left half   7.50", "all        12.00"]


def test_batches_count_each_example_once():
    found = [(index.tolist(), count) for index, count in parallel.batches(5, 2)]
    assert found == [([0, 1], 2), ([2, 3], 2), ([4, 4], 1)]
    assert list(parallel.batches(0, 2)) == []


def test_mean_and_error():
    """s / sqrt(n) of 1, 2, 4: s^2 = 7/3."""
    assert mean_and_error([1.0, 2.0, 4.0]) == pytest.approx((7 / 3, np.sqrt(7 / 9)))
