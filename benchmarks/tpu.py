"""Our programs as a TPU's own compiler sees them, on a machine without a TPU: cycles, memory, compile time.

    pip install '.[tpu-compile]'
    python -m benchmarks.tpu --json tpu.json --out docs/tpu.md     everything, about an hour on one core
    python -m benchmarks.tpu --experiments mnist_doubling --topologies v5e:2x4 --programs update --dearest 10

libtpu describes a topology and compiles for it. Its estimates of cycles compare programs; they promise no times.
Rows that stand in --json already are kept, so that a run which was stopped goes on.
"""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from jax.experimental import topologies
from jax.sharding import Mesh
from tqdm import tqdm

from benchmarks import tpu_cycles
from benchmarks.hardware import TPU_V3, TPU_V5E, Machine
from benchmarks.scaling import table
from benchmarks.tpu_programs import EXPERIMENTS, PROGRAMS, count, preset
from vnca_jax import parallel, paths
from vnca_jax.compute import Compute, choose, describe
from vnca_jax.errors import InputError, reported
from vnca_jax.writing import write_json, write_text

TEMPLATE = Path(__file__).with_name("tpu_template.md")
TARGETS = {  # ms of an update
    ("mnist_doubling", "v5e:2x4"): 6.0,
    ("mnist_nondoubling", "v5e:2x4"): 9.0,
    ("mnist_baseline", "v5e:2x4"): 1.0,
    ("mnist_doubling", "v3:2x2"): 13.0,
}
PAPER_UPDATES = 100_000


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice of TPU cores as libtpu names it, the published clock, and the machine that they are of."""

    name: str
    words: str
    clock: float
    machine: Machine


TOPOLOGIES = {
    topology.name: topology
    for topology in (
        Topology("v5e:2x4", "TPU v5e-8", 1.5e9, TPU_V5E),
        Topology("v3:2x2", "TPU v3-8", 0.94e9, TPU_V3),
        Topology("v5e:4x8", "TPU v5e-32", 1.5e9, TPU_V5E),
    )
}


@dataclasses.dataclass(frozen=True)
class Row:
    """What the compiler says of a program. Cycles and ms are those of one update, or of all batches of the bound."""

    experiment: str
    topology: str
    program: str
    settings: str
    compile_s: float
    peak_bytes: int
    cycles: float
    ms: float
    share: float | None = None
    moved_bytes: float | None = None


def mesh_of(topology: Topology) -> Mesh:
    """The cores of a topology that is not at hand."""
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology.name).devices
    return Mesh(np.array(devices), (parallel.AXIS,))


def settings(mesh: Mesh, topology: Topology) -> Compute:
    """How a model computes on such a core: what `compute.choose` finds for its description."""
    return choose(dataclasses.replace(describe(mesh.devices.flat[0]), memory_bytes=int(topology.machine.memory_bytes)))


def measure(experiment: str, topology: Topology, program: str) -> tuple[Row, str, list[tpu_cycles.Operation]]:
    """A row, the optimized HLO, and the operations of one update or one batch."""
    mesh, config = mesh_of(topology), preset(experiment)
    how = settings(mesh, topology)
    made = PROGRAMS[program](config, mesh, how)
    start = time.monotonic()
    compiled = made.compile()
    compile_s, text = time.monotonic() - start, compiled.as_text()
    read = tpu_cycles.read(text)
    operations = list(read.operations(read.update() if program == "update" else read.entry, made.turns))
    cycles = made.times * tpu_cycles.cycles_of(operations)
    row = Row(
        experiment,
        topology.name,
        program,
        f"{how.dtype}, {how.formulation}{', steps computed again' if how.recompute else ''}",
        compile_s,
        compiled.memory_analysis().peak_memory_in_bytes,
        cycles,
        1e3 * cycles / topology.clock,
    )
    if program == "update":
        flops, moved = count(config, mesh.size)
        row = dataclasses.replace(row, share=flops / (topology.machine.peak_flops * row.ms / 1e3), moved_bytes=moved)
    return row, text, operations


def updates_table(rows: list[Row]) -> str:
    """What an update takes."""
    header = ["experiment", "compile, s", "peak, GiB per core", "M cycles", "ms", "of the MXU's peak", "received, MB"]
    header += ["hours for 100,000", "target, ms"]
    body = []
    for row in rows:
        target = TARGETS.get((row.experiment, row.topology))
        body.append(
            [
                row.experiment,
                f"{row.compile_s:.0f}",
                f"{row.peak_bytes / 2**30:.2f}",
                f"{row.cycles / 1e6:.2f}",
                f"{row.ms:.2f}",
                f"{row.share:.0%}",
                f"{(row.moved_bytes or 0) / 1e6:.0f}",
                f"{row.ms * PAPER_UPDATES / 3.6e6:.2f}",
                f"{target:g}" if target else "",
            ]
        )
    return table(header, body)


def others_table(rows: list[Row]) -> str:
    """What the bound of all test images and a report's samples take."""
    header = ["experiment", "program", "cores", "compile, s", "peak, GiB per core", "seconds"]
    words = {"bound": "IWELBO of all test images", "samples": "64 samples, on one core"}
    return table(
        header,
        [
            [
                row.experiment,
                words[row.program],
                TOPOLOGIES[row.topology].words,
                f"{row.compile_s:.0f}",
                f"{row.peak_bytes / 2**30:.2f}",
                f"{row.ms / 1e3:.2f}",
            ]
            for row in rows
        ],
    )


def render(rows: list[Row]) -> str:
    """The document."""
    parts = []
    for topology in TOPOLOGIES.values():
        updates = [row for row in rows if row.topology == topology.name and row.program == "update"]
        if updates:
            parts.append(f"## An update on {topology.words} (`{topology.name}`)\n\n{updates_table(updates)}")
    others = [row for row in rows if row.program != "update"]
    chosen = {TOPOLOGIES[row.topology].words.rpartition("-")[0]: row.settings for row in rows}
    said = "; ".join(f"{kind}: {words}" for kind, words in chosen.items())
    known = {(row.experiment, row.topology): row for row in rows if row.program == "update"}
    now = [f"{known[one].cycles / 1e6:.1f} M, {known[one].ms:.2g} ms" if one in known else "-" for one in TARGETS]
    filled = {"updates": "\n".join(parts), "others": others_table(others), "settings": said, "now": " | ".join(now)}
    text = TEMPLATE.read_text()
    for name, value in filled.items():
        text = text.replace("{" + name + "}", value.rstrip("\n"))
    return text


@dataclasses.dataclass(frozen=True)
class Options:
    """Compiles the paper's programs for TPUs that need not be at hand, and says what their compiler estimates."""

    experiments: tuple[str, ...] = EXPERIMENTS
    """Experiments whose paper preset is compiled."""
    topologies: tuple[str, ...] = tuple(TOPOLOGIES)
    """Slices of TPU cores, by libtpu's names."""
    programs: tuple[str, ...] = tuple(PROGRAMS)
    """What is compiled: update, bound (only for v5e:2x4), samples (likewise)."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Keep the rows in this file, and go on from those that it has."""
    out: Path | None = None
    """Write the document to this file."""
    dump: Path | None = None
    """Keep the optimized HLO in this folder."""
    dearest: int = 0
    """List so many operations of each program, dearest first, with the lines of our code that they come from."""

    def __post_init__(self):
        for name, known in (("experiments", EXPERIMENTS), ("topologies", TOPOLOGIES), ("programs", PROGRAMS)):
            for value in getattr(self, name):
                if value not in known:
                    raise InputError(f"`{name}` has {value!r}, but must be among {', '.join(known)}.")


def main(options: Options) -> None:
    """Compiles what is asked for and not known yet."""
    known_already = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    rows = [Row(**row) for row in known_already]
    wanted = [
        (experiment, topology, program)
        for program in options.programs
        for topology in options.topologies
        for experiment in options.experiments
        if program == "update" or topology == next(iter(TOPOLOGIES))
    ]
    known = {(row.experiment, row.topology, row.program) for row in rows}
    for one in tqdm([each for each in wanted if each not in known], unit="program"):
        try:
            row, text, operations = measure(one[0], TOPOLOGIES[one[1]], one[2])
        except InputError as error:  # a batch that cannot be shared among so many cores
            tqdm.write(f"{' '.join(one)}: {error}")
            continue
        rows.append(row)
        tqdm.write(f"{' '.join(one)}: {row.ms:,.2f} ms, {row.peak_bytes / 2**30:.2f} GiB, {row.compile_s:.0f} s")
        for operation in sorted(operations, key=lambda each: -each.times * each.cycles)[: options.dearest]:
            cycles = f"{operation.times:g} x {operation.cycles:,}"
            tqdm.write(f"{cycles:>18}  {operation.name:<70}  {operation.source}")
        if options.dump:
            write_text(options.dump / f"{'-'.join(one).replace(':', '-')}.hlo", text)
        if options.json:
            write_json(options.json, [dataclasses.asdict(row) for row in rows])
    order = [(e, t, p) for p in PROGRAMS for t in TOPOLOGIES for e in EXPERIMENTS]
    rows.sort(key=lambda row: order.index((row.experiment, row.topology, row.program)))
    if options.out:
        write_text(options.out, render(rows))
    else:
        print(render(rows))


def without_tpu() -> None:
    """Lets libtpu compile where it has no TPU, and asks no metadata server, which would take minutes."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    os.environ |= {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no process has a TPU, so none shuts out another
    }
    try:
        import libtpu  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(
            "The TPU's compiler, libtpu, is not installed; install it: pip install '.[tpu-compile]'"
        ) from None


if __name__ == "__main__":
    with reported():
        chosen: Any = paths.expanded_in(tyro.cli(Options, prog="python -m benchmarks.tpu", description=Options.__doc__))
        without_tpu()
        main(chosen)
