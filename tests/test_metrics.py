"""Metrics are read back as they were added, after a kill at any byte too."""

import json
import re
import struct

import numpy as np
import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

from vnca_jax import events, metrics
from vnca_jax.errors import InputError
from vnca_jax.metrics import Metrics


def terms(*losses):
    return {"loss": np.array(losses, np.float32), "kl": np.array(losses, np.float32) / 4}


def add_from(folder, step, *calls):
    """Updates after `step`, a call for each list of losses, that take a second each."""
    recorder = Metrics(folder, step=step, num_updates=10)
    for losses in calls:
        recorder.add(step + 1, terms(*losses), seconds=float(len(losses)))
        step += len(losses)
    recorder.close()


def events_in(folder):
    """The events of all files of a folder; the format is length, its CRC, the event, its CRC."""
    for path in sorted((folder / "tensorboard").iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            data = content[12 : 12 + length]
            (checksum,) = struct.unpack("<I", content[12 + length : 16 + length])
            raw = crc32c(data)
            assert checksum == ((raw >> 15 | raw << 17) + 0xA282EAD8) & 0xFFFFFFFF
            yield Event.FromString(data)
            content = content[16 + length :]


def test_columns(tmp_path):
    add_from(tmp_path, 0, [8.0, 7.0], [1 / 3, -2e-7, 1e9])
    columns = metrics.read(tmp_path / "metrics.jsonl")
    assert list(columns) == ["step", "loss", "kl", "seconds"]
    assert columns["step"].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(columns["loss"], [8.0, 7.0, 0.333333, 0.0, 1e9], atol=5e-7)
    np.testing.assert_allclose(columns["kl"], [2.0, 1.75, 0.083333, 0.0, 2.5e8], atol=5e-7)
    assert columns["seconds"].tolist() == [1.0] * 5


def test_reports(tmp_path, capsys):
    """Their own file, which a resumed run cuts too, and the bar."""
    recorder = Metrics(tmp_path, step=0, num_updates=10)
    recorder.add(1, terms(8.0, 7.0), seconds=2.0)
    recorder.add_report(2, {"held_out_elbo": -7.25, "held_out_elbo_error": 0.5})
    recorder.add(3, terms(6.0), seconds=1.0)
    recorder.add_report(3, {"held_out_elbo": -6.0, "held_out_elbo_error": 0.25})
    recorder.close()
    bar = capsys.readouterr().err.split("\r")[-1].strip()  # how far, time gone and time left, and what was measured
    assert re.search(r"3/10 \[\d\d:\d\d<\d\d:\d\d, .*loss 6\.00 nats, held-out ELBO -7\.25\]$", bar), bar
    columns = metrics.read(tmp_path / metrics.REPORTS)
    assert {name: column.tolist() for name, column in columns.items()} == {
        "step": [2, 3],
        "held_out_elbo": [-7.25, -6.0],
        "held_out_elbo_error": [0.5, 0.25],
    }
    values = [
        (event.step, value.tag, value.simple_value) for event in events_in(tmp_path) for value in event.summary.value
    ]
    assert (3, "held_out_elbo", -6.0) in values and (2, "held_out_elbo_error", 0.5) in values
    add_from(tmp_path, 2, [5.0])
    assert metrics.read(tmp_path / metrics.REPORTS)["step"].tolist() == [2]


def test_no_columns(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(InputError) as error:
        metrics.read(path)
    assert str(error.value) == f"There is no file {path}; give the metrics.jsonl of a run directory."
    path.write_text("")
    assert metrics.read(path) == {}


LINES = [f'{{"step": {step}, "loss": {10.0 - step}}}\n' for step in range(1, 6)]


@pytest.mark.parametrize(
    ("end", "step", "kept"),
    [
        ("", 5, 5),
        ("", 3, 3),
        ("", 0, 0),
        ('{"step": 6, "lo', 5, 5),
        ('{"step": 6, "loss": 1.5}', 6, 5),  # without the end of the line, the next would be glued to it
        ('{"step": 6, "lo\n', 6, 5),
        ("\0\0\0", 6, 5),
        ("\0\0\0\n7\n[]\n", 6, 5),
        ("\xff\n", 6, 5),
        ("{}\n", 6, 5),
    ],
)
def test_what_a_killed_run_left_behind_is_dropped(tmp_path, end, step, kept):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes("".join(LINES).encode() + end.encode("latin1"))
    add_from(tmp_path, step)
    assert path.read_text() == "".join(LINES[:kept])
    add_from(tmp_path, step, [1.0])
    added = json.loads(path.read_text().removeprefix("".join(LINES[:kept])))
    assert added == {"step": step + 1, "loss": 1.0, "kl": 0.25, "seconds": 1.0}


def test_tensorboard(tmp_path):
    add_from(tmp_path, 0, [8.0], [6.0, 7.0])
    add_from(tmp_path, 1, [5.0, 4.0, 3.0])  # killed and restored at step 1
    found = [
        (event.step, {value.tag: value.simple_value for value in event.summary.value})
        for event in events_in(tmp_path)
        if event.HasField("summary")
    ]
    assert found == [
        (1, {"loss": 8.0, "kl": 2.0, "seconds": 1.0}),
        (3, {"loss": 6.5, "kl": 1.625, "seconds": 1.0}),
        (4, {"loss": 4.0, "kl": 1.0, "seconds": 1.0}),
    ]
    starts = [event.step for event in events_in(tmp_path) if event.session_log.status == SessionLog.START]
    assert starts == [1, 2]  # TensorBoard forgets what is at this step and later
    versions = [event.file_version for event in events_in(tmp_path) if event.file_version]
    assert versions == ["brain.Event:2"] * 2


def test_checksum():
    """The values of RFC 3720, B.4, and of the digits, by which the check is usually told."""
    assert events.crc32c(b"123456789") == 0xE3069283
    assert events.crc32c(bytes(32)) == 0x8A9136AA
    assert events.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert events.crc32c(bytes(range(32))) == 0x46DD794E


def test_progress_bar(tmp_path, capsys):
    add_from(tmp_path, 4, [8.0, 7.0])
    assert "| 6/10 [" in capsys.readouterr().err.splitlines()[-1]
    add_from(tmp_path, 6, [8.0, 7.0])
    assert "loss 7.50 nats]" in capsys.readouterr().err
