"""Scaling on paper: the time model against arithmetic by hand, the counts against the document that stands in docs."""

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks import scaling, step_counts
from benchmarks.flops import Operation
from benchmarks.hardware import H100, TPU_V3, TPU_V5E, Machine, Work, predict
from benchmarks.scaling import milliseconds
from benchmarks.step_counts import CASES, Case, Counted, count_all, count_operations, kept_bytes, shapes_of
from experiments import celeba_doubling, mnist_baseline, mnist_doubling, mnist_nondoubling

DOCUMENT = Path(__file__).parent.parent / "docs" / "scaling.md"
DOUBLING, NONDOUBLING, BASELINE, CELEBA = CASES
NUM_BASELINE, NUM_NONDOUBLING = 9_495_809, 5_042_304  # parameters

# 40 FLOP/s and 70 B/s are reached, and 5 B/s in collectives.
SIMPLE = Machine("simple", 100, 100, 1e9, 10, operation_s=2, hop_s=0.5)
NODES = Machine("nodes", 100, 100, 1e9, 10, operation_s=2, hop_s=0.5, devices_per_node=4, node_bandwidth=4)
OPERATIONS = [
    Operation(flops=400, numbers=70, num_bytes=280, times=3),  # 10 s of arithmetic, 2 s of memory
    Operation(flops=100, numbers=350, num_bytes=1400, times=2),  # 2.5 s and 10 s
    Operation(flops=8, numbers=7, num_bytes=28, times=5),  # 0.2 s and 0.2 s, below the floor
]
MOVED = {"all-reduce": 100.0, "all-gather": 20.0, "reduce-scatter": 0.0}


def test_step_time():
    found = predict(SIMPLE, Work(OPERATIONS, 35, MOVED), 16)
    assert vars(found) == {
        "compute": 30,
        "memory": pytest.approx(20),
        "latency": 10,
        "update": pytest.approx(35 * 32 / 70),
        "collectives": 120 / 5 + 3 * 6 * 0.5,  # 2 (sqrt 16 - 1) hops, thrice: an all-reduce goes there and back
    }
    assert found.step_s == pytest.approx(30 + 20 + 10 + 16 + 33)
    assert found.fixed_s == pytest.approx(10 + 16 + 33)
    assert found.largest == "collectives"
    assert SIMPLE.balance == pytest.approx(40 / 70)


def test_step_time_of_nodes():
    assert predict(NODES, Work([], 0, MOVED), 4).collectives == 120 / 5 + 3 * 2 * 0.5
    assert predict(NODES, Work([], 0, MOVED), 8).collectives == 120 / 2 + 3 * 3 * 0.5
    assert predict(NODES, Work([], 0, dict.fromkeys(MOVED, 0.0)), 1).step_s == 0


def test_a_share_that_a_compiler_has_said():
    """All FLOPs at that share, whatever else would bound a single operation; other machines as before."""
    found = predict(SIMPLE, Work(OPERATIONS, 35, MOVED, {"simple": 0.2}), 16)
    assert (found.compute, found.memory, found.latency) == (pytest.approx((1200 + 200 + 40) / 20), 0, 0)
    assert found.update == pytest.approx(35 * 32 / 70)
    assert predict(NODES, Work(OPERATIONS, 35, MOVED, {"simple": 0.2}), 1).compute == 30


def test_compiled_shares():
    """Of the rows in benchmarks/tpu.json, less the update's time; of other numbers of images the nearest."""
    rows = [row for row in json.loads(step_counts.COMPILED.read_text()) if row["program"] == "update"]
    rows = {(row["experiment"], row["topology"]): row for row in rows}
    found = counted(BASELINE, NUM_BASELINE, 0, {})
    row = rows["mnist_baseline", "v5e:2x4"]
    update_ms = 1e3 * 32 * NUM_BASELINE / (0.7 * 819e9)
    expected = row["share"] * row["ms"] / (row["ms"] - update_ms)
    assert found.compiled_shares(4)["TPU v5e"] == found.compiled_shares(32)["TPU v5e"] == pytest.approx(expected)
    assert found.compiled_shares(1)["TPU v5e"] < expected and set(found.compiled_shares(1)) == {"TPU v5e", "TPU v3"}
    for case in CASES:
        cores, (machine, number) = rows[case.experiment, "v5e:2x4"], step_counts.CORES["v5e:2x4"]
        flops = cores["share"] * cores["ms"] / 1e3 * machine.peak_flops
        counts = sum(op.times * op.flops for op in count_operations(case, case.batch_size // number))
        assert flops == pytest.approx(counts, rel=1e-3)


def test_remedies():
    work = Work(OPERATIONS, 35, {"all-reduce": 100.0, "all-gather": 20.0, "reduce-scatter": 12.0})
    changed = work.sharing_update(7).halving_gradient().sending_states(4)
    assert changed == Work(OPERATIONS, 5, {"all-reduce": 50, "all-gather": 5, "reduce-scatter": 3})


def test_published_figures():
    """What a device has of its chip's, and of its pod's links."""
    assert (TPU_V3.peak_flops, TPU_V3.memory_bandwidth) == (61.5e12, 450e9)
    assert TPU_V3.bandwidth(256) == pytest.approx(166.0e9, rel=1e-3)
    assert TPU_V5E.bandwidth(256) == 200e9  # 4 links of 50 GB/s
    assert (H100.bandwidth(8), H100.bandwidth(9)) == (450e9, 400e9)
    assert TPU_V3.num_hops(2) == TPU_V5E.num_hops(1) == H100.num_hops(1) == 0
    assert (TPU_V3.num_hops(32), TPU_V5E.num_hops(256), H100.num_hops(256)) == (6, 30, 8)


def counted(case: Case, num_parameters: int, cell_bytes: int, operations: dict[int, list[Operation]]) -> Counted:
    return Counted(case, num_parameters, kept_bytes(case), cell_bytes, operations, {})


def test_what_is_moved():
    """A state of 28 x 28 cells: a byte of the image and 128 floats each."""
    state = 28 * 28 * (1 + 4 * 128)
    found = counted(NONDOUBLING, NUM_NONDOUBLING, state, {})
    assert found.moved(1, 128) == dict.fromkeys(MOVED, 0)
    assert found.moved(8, 128) == {
        "all-reduce": 7 * NUM_NONDOUBLING,
        "all-gather": 7 * 16 * state,
        "reduce-scatter": 7 * 8 * state,
    }
    assert found.most_devices == 64
    kept = 128 * 4 * 784 * 64 * 2 * 128  # bytes, at T = 64: the cells, and the hidden layer
    assert kept < found.kept_bytes * 128 < 1.01 * kept
    small = dataclasses.replace(TPU_V5E, memory_bytes=2 * kept)
    assert (found.recomputes(small), found.recomputes(TPU_V5E), found.recomputes(H100)) == (True, False, False)


@pytest.mark.parametrize(
    ("case", "experiment"),
    [
        (DOUBLING, mnist_doubling),
        (NONDOUBLING, mnist_nondoubling),
        (BASELINE, mnist_baseline),
        (CELEBA, celeba_doubling),
    ],
)
def test_cases_are_the_paper_s(case, experiment):
    config = experiment.PRESETS["paper"]
    if case is NONDOUBLING:
        assert config.loss.pool_size == case.pool_states * case.batch_size
    assert config.model == shapes_of(case).sizes
    assert case.batch_size == config.train.batch_size


def test_a_step_more_counts_one_step_more():
    """Forward, and back to weights and cells; T ~ U{32..64} is counted at its mean."""

    def flops(steps):
        case = dataclasses.replace(NONDOUBLING, counted_with={"min_steps": 32, "max_steps": steps})
        return sum(op.times * op.flops for op in count_operations(case, 2))

    one_step = 2 * (2 * 28 * 28 * (9 * 128 * 128 + 128 * 128))
    assert flops(64) - flops(48) == 3 * 16 * one_step
    assert NONDOUBLING.counted_with == {"min_steps": 48, "max_steps": 48}


def test_document_is_what_the_counts_say(monkeypatch, tmp_path, capsys):
    """Every line that a new count of the baseline gives stands in docs/scaling.md: prose, machines, rows, reasons."""
    one, many = (count_operations(BASELINE, n) for n in (1, 32))

    def between(n):
        """The operations of n images: all is linear in them, but that weights are read and written once."""
        numbers = [a.numbers + (n - 1) * (b.numbers - a.numbers) / 31 for a, b in zip(one, many, strict=True)]
        return [op._replace(flops=n * op.flops, numbers=x) for op, x in zip(one, numbers, strict=True)]

    assert [op[:2] for op in between(32)] == [op[:2] for op in many]
    found = counted(BASELINE, NUM_BASELINE, 0, {1 << i: between(1 << i) for i in range(6)})
    monkeypatch.setattr(scaling, "count_all", lambda: [found])
    scaling.main(scaling.Options())
    text = capsys.readouterr().out
    lines, document = text.splitlines(), DOCUMENT.read_text().splitlines()
    assert [line for line in lines if line not in document] == []
    assert sum(line.startswith(f"| {BASELINE.name} |") for line in lines) == 1 + 3 * (1 + 2 + 1 + 1) + 2  # TPUs
    assert "{" not in text
    scaling.main(scaling.Options(tmp_path / "scaling.md"))
    assert (tmp_path / "scaling.md").read_text() == text


def test_a_count_that_breaks_the_rule(monkeypatch):
    monkeypatch.setattr(step_counts, "count_operations", lambda case, n: [])
    monkeypatch.setattr(step_counts, "count_moved", lambda case, n, batch: {"all-reduce": 7, "all-to-all": 1})
    with pytest.raises(ValueError, match="convolutional baseline, MNIST on 8 devices moves {'all-reduce': 7, 'all-to-"):
        step_counts.count(BASELINE)


def test_times_as_text():
    assert [milliseconds(s) for s in (1.2344, 0.09996, 0.0998, 0.0031, 0.00004567)] == [
        "1,234",
        "100",
        "99.8",
        "3.10",
        "0.0457",
    ]


@pytest.mark.long
def test_compiled_programs_move_what_the_document_says():
    """The baseline's, compiled for 8, 32 and 256 devices; `count` itself holds them to the rule."""
    (found,) = count_all([BASELINE])
    assert list(found.compiled) == [(8, 32), (32, 32), (256, 8192)]
    for (num_devices, batch_size), moved in found.compiled.items():
        others = num_devices - 1
        assert 0 <= moved["all-reduce"] - 8 * NUM_BASELINE * others / num_devices < 64  # the loss and its terms
        row = f"| {BASELINE.name} | {num_devices} | {batch_size:,} | {moved['all-reduce'] / 1e6:,.1f} |"
        assert row in DOCUMENT.read_text()
