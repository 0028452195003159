"""Starts the processes of one run on this machine, as a user would by hand, and waits for them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tiny_training

PATIENCE = 280  # seconds until processes that should have ended are killed


class Ended(NamedTuple):
    """How a process ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


class Processes:
    """`count` processes of `command`, each with its own CPU devices; the environment tells them of each other."""

    def __init__(self, command: Sequence[object], folder: Path, *, count: int = 2, num_devices: int = 4, **variables):
        folder.mkdir(parents=True, exist_ok=True)
        self.outputs = [[folder / f"{name}{i}" for name in ("stdout", "stderr")] for i in range(count)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        shared = {
            "PYTHONPATH": str(tiny_training.ROOT),
            "JAX_PLATFORMS": "cpu",
            # Less optimized programs compile in half the time.
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices} --xla_backend_optimization_level=0",
            "COLUMNS": "200",
        }
        if count > 1:
            shared |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
        self.started = []
        for i, (stdout, stderr) in enumerate(self.outputs):
            environment = {**os.environ, **shared, "JAX_PROCESS_ID": str(i), **variables}
            with open(stdout, "w") as out, open(stderr, "w") as err:
                arguments = [sys.executable, *map(str, command)]
                process = subprocess.Popen(arguments, cwd=tiny_training.ROOT, env=environment, stdout=out, stderr=err)
            self.started.append(process)

    def wait(self) -> list[Ended]:
        """Waits for all; one that takes too long is killed."""
        end_at = time.monotonic() + PATIENCE
        for process in self.started:
            try:
                process.wait(max(1.0, end_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        codes = [process.wait() for process in self.started]
        texts = [[path.read_text() for path in paths] for paths in self.outputs]
        return [Ended(code, *text) for code, text in zip(codes, texts, strict=True)]

    def wait_for_lines(self, path: Path, number: int) -> None:
        """Waits until the file `path` has so many lines."""
        while not (path.exists() and path.read_bytes().count(b"\n") >= number):
            codes = [process.poll() for process in self.started]
            assert codes == [None] * len(codes), [path.read_text() for _, path in self.outputs]
            time.sleep(0.01)
