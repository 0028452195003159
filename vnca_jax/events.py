"""TensorBoard's event files, without a package that would bring torch or TensorFlow into every command.

A file is records: the length of an event in 8 bytes, the length's checksum, the event, its checksum. An event is a
message of protobuf (tensorflow/core/util/event.proto); of its fields these are written, by number: wall_time 1, step 2,
file_version 3, summary 5 with a value 1 (tag 1, simple_value 2) for each scalar, session_log 7 with status 1.
"""

import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

POLYNOMIAL = 0x82F63B78  # of CRC-32C, its bits reversed
MASK = 0xA282EAD8
START = 1  # of a session: what an earlier file says of this step and later ones is forgotten
VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5  # how a field's value is written


class EventFile:
    """A new file in `folder` of a run that starts after `step`; each event is on its way to the disk when written."""

    def __init__(self, folder: Path, step: int):
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{step}"
        self._file = open(folder / name, "ab", buffering=0)  # noqa: SIM115 (closed by `close`)
        self._write(_text(3, "brain.Event:2"))
        self._write(_number(2, step + 1) + _message(7, _number(1, START)))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the scalars of a step."""
        values = (
            _message(1, _text(1, tag) + _key(2, FOUR_BYTES) + struct.pack("<f", value))
            for tag, value in scalars.items()
        )
        self._write(_number(2, step) + _message(5, b"".join(values)))

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _write(self, fields: bytes) -> None:
        event = _key(1, EIGHT_BYTES) + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        record = length + _masked(length) + event + _masked(event)
        if self._file.write(record) != len(record):
            raise OSError(28, "No space left on device")


def crc32c(content: bytes) -> int:
    """The cyclic redundancy check of Castagnoli's polynomial."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _masked(content: bytes) -> bytes:
    crc = crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF)


def _varint(number: int) -> bytes:
    """Seven bits per byte, the lowest first; the eighth says that there are more."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _number(field: int, number: int) -> bytes:
    return _key(field, VARINT) + _varint(number)


def _message(field: int, content: bytes) -> bytes:
    return _key(field, BYTES) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())
