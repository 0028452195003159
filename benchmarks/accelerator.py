"""How fast the machine at hand trains and evaluates the three MNIST models: CPU, GPU or TPU, on all its devices.

First what the machine can do, measured: a product of large matrices, in the type that the automaton computes in, and a
copy of a large array. Then whole training steps as `train.fit` runs them and bounds as `vnca_jax.eval` computes them:
steps a second, model FLOP/s (dots and convolutions, counted in the jaxpr) and its share of the measured peak, memory,
compile time. Then each part of a step alone, on one device, beside its roofline: the time that its arithmetic takes at
the peak or its memory traffic at the bandwidth, whichever is longer.

    python -m benchmarks.accelerator                      # the paper's sizes on an accelerator, small ones on a CPU
    python -m benchmarks.accelerator --size paper --only doubling --json accelerator.json
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import tyro
from jax.sharding import Mesh

from benchmarks.accelerator_parts import SEED, Part, bound_part, parts_of_step
from benchmarks.flops import count_flops
from benchmarks.our_step import make_step
from benchmarks.side_by_side import GIB, describe_machine, require_folder, require_sizes, time_compilation
from vnca_jax import compute, parallel, paths, pool
from vnca_jax.compute import Compute
from vnca_jax.errors import reported
from vnca_jax.losses import elbo_loss, pool_loss
from vnca_jax.models import ConvVAE, DoublingVNCA, NonDoublingVNCA
from vnca_jax.remat import decodes_at_once
from vnca_jax.text_table import aligned

Program = Literal["doubling", "nondoubling", "baseline", "iwelbo"]
PROGRAMS: tuple[Program, ...] = ("doubling", "nondoubling", "baseline", "iwelbo")
MIN_SECONDS = 0.5  # of a timed repeat, which is as many runs as that takes
UPDATES, TEST_IMAGES = 100_000, 10_000


@dataclasses.dataclass(frozen=True)
class Options:
    """Time training steps, bounds and their parts on the machine at hand."""

    size: Literal["auto", "paper", "small"] = "auto"
    """The paper's sizes or small ones; auto is the paper's on an accelerator, small on a CPU."""
    only: tuple[Program, ...] = PROGRAMS
    """Which programs."""
    parts: bool = True
    """Also time each part of the steps alone."""
    compute_dtype: compute.ComputeDtype = "auto"
    """Type of the automaton's dots and convolutions; auto is what the device is good at."""
    formulation: Literal["auto", "winograd", "gather", "lax"] = "auto"
    """How convolutions are computed; auto is the one for the backend."""
    num_devices: int | None = None
    """Number of devices; None takes all that JAX sees."""
    repeats: int = 3
    """Timed repeats; the best is reported."""
    json: Path | None = None
    """Also write everything to this JSON file."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and the batch that it is trained with, over all devices; `pool_size` zero stands for no pool."""

    model: Any
    batch_size: int
    pool_size: int = 0


@dataclasses.dataclass(frozen=True)
class Peak:
    """What one device can do, measured: FLOP/s of a large matrix product, bytes a second of a large copy."""

    flops: float
    bandwidth: float

    def roofline(self, flops: float, num_bytes: float) -> tuple[float, str]:
        """The fewest seconds, and what they are for."""
        arithmetic, memory = flops / self.flops, num_bytes / self.bandwidth
        return max(arithmetic, memory), "arithmetic" if arithmetic > memory else "memory"


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one run, of compiling it, and GiB that it takes beside its arguments."""

    seconds: float
    compile_s: float
    temporary_gib: float


def cases(size: str, how: Compute) -> dict[str, Case]:
    """The three models of the paper's MNIST experiments, or small ones of the same shape."""
    if size == "paper":
        makers: dict[str, Callable] = {"doubling": DoublingVNCA, "nondoubling": NonDoublingVNCA, "baseline": ConvVAE}
        batches, pool_size = {"doubling": 32, "nondoubling": 128, "baseline": 32}, 1024
    else:
        both = {"latent_size": 16, "encoder_width": 4, "encoder_depth": 2}
        cells = {"hidden_size": 16, **both}
        makers = {
            "doubling": partial(DoublingVNCA, num_doublings=3, steps_per_doubling=2, num_blocks=1, **cells),
            "nondoubling": partial(NonDoublingVNCA, image_size=16, num_steps=6, min_steps=4, max_steps=8, **cells),
            "baseline": partial(ConvVAE, image_size=16, **both),
        }
        batches, pool_size = dict.fromkeys(makers, 16), 64
    make_all = eqx.filter_jit(lambda key: {name: make(compute=how, key=key) for name, make in makers.items()})
    models = make_all(jr.key(SEED))
    return {name: Case(models[name], batches[name], pool_size * (name == "nondoubling")) for name in makers}


def compile_timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """The executable of a jitted function, and the seconds that tracing and compiling it took, without a cache."""
    start = time.perf_counter()
    lowered = function.lower(*arguments)  # pyright: ignore[reportFunctionMemberAccess]
    tracing_s = time.perf_counter() - start
    compiled, compile_s = time_compilation(lowered)
    return compiled, tracing_s + compile_s


def best_seconds(run: Callable[[], Any], repeats: int) -> float:
    """Seconds of one run, the best of `repeats` series of runs that follow each other without waiting."""
    jax.block_until_ready(run())
    start = time.perf_counter()
    jax.block_until_ready(run())
    count = max(1, round(MIN_SECONDS / (time.perf_counter() - start)))
    series = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(count):
            result = run()
        jax.block_until_ready(result)
        series.append((time.perf_counter() - start) / count)
    return min(series)


def timed(part: Part, repeats: int) -> Timing:
    """A part compiled and run on one device."""
    compiled, compile_s = compile_timed(jax.jit(part.function), *part.arguments)
    seconds = best_seconds(lambda: compiled(*part.arguments), repeats)
    return Timing(seconds, compile_s, compiled.memory_analysis().temp_size_in_bytes / GIB)


def measure_peak(mesh: Mesh, repeats: int, dtype: str) -> Peak:
    """Both peaks of all devices of `mesh` together, from arrays that are large for each."""
    is_cpu = jax.default_backend() == "cpu"
    n, num_numbers = (1536, 1 << 25) if is_cpu else (8192, 1 << 29)

    def on_each(function, *shape):
        whole = jr.normal(jr.key(SEED), (mesh.size, *shape), dtype)
        sharded = jax.shard_map(function, mesh=mesh, in_specs=parallel.SHARDED, out_specs=parallel.SHARDED)
        return timed(Part("", sharded, (parallel.place(whole, mesh, parallel.SHARDED),)), repeats), whole.nbytes

    product, _ = on_each(lambda a: a @ a, n, n)
    copy, num_bytes = on_each(lambda x: x + 1, num_numbers)
    return Peak(mesh.size * 2 * n**3 / product.seconds, 2 * num_bytes / copy.seconds)


def time_step(case: Case, mesh: Mesh, repeats: int) -> tuple[Timing, float]:
    """A training step over `mesh` as `train.fit` runs it, many in one device call, and its FLOPs."""
    model = jax.tree.map(jnp.copy, case.model)  # which an update consumes
    image_shape = (model.image_size, model.image_size, model.image_channels)
    carry = pool.empty(case.pool_size, image_shape, model.latent_size) if case.pool_size else None
    loss = pool_loss() if case.pool_size else elbo_loss()
    steps = 2 if jax.default_backend() == "cpu" else 20
    key = jr.key(SEED)
    take_steps, state, images = make_step(loss, model, carry, case.batch_size, mesh=mesh, key=key, max_steps=steps)
    flops = count_flops(take_steps, state, images, 1)
    if case.pool_size:  # the count is of max_steps, of which the mean is taken
        flops *= (model.sizes.min_steps + model.sizes.max_steps) / (2 * model.sizes.max_steps)
    compiled, compile_s = compile_timed(take_steps, state, images, steps)

    def run():
        nonlocal state
        state, terms = compiled(state, images, steps)
        return terms

    seconds = best_seconds(run, repeats) / steps
    return Timing(seconds, compile_s, compiled.memory_analysis().temp_size_in_bytes / GIB), flops


def row(name: str, timing: Timing, flops: float, peak_flops: float, **more: Any) -> dict[str, Any]:
    """What is known of a program or part."""
    rate = flops / timing.seconds
    facts = {"flops": flops, "flops_a_second": rate, "share_of_peak": rate / peak_flops}
    return {"name": name, **dataclasses.asdict(timing), **facts, **more}


def measure_programs(
    options: Options, mesh: Mesh, one: Peak, whole: Peak, found: dict[str, Case]
) -> list[dict[str, Any]]:
    """Whole training steps over the mesh, and the bound of some images on one device."""
    rows = []
    for name, case in found.items():
        if name in options.only:
            timing, flops = time_step(case, mesh, options.repeats)
            rate = f"{UPDATES * timing.seconds / 60:.1f} min for {UPDATES:,} updates"
            facts = row(f"{name} step, batch {case.batch_size}", timing, flops, whole.flops, at_this_rate=rate)
            rows.append(facts)
    if "iwelbo" in options.only:
        model, num_samples = found["doubling"].model, 128
        at_once = min(num_samples, 1 << (decodes_at_once(model).bit_length() - 1))
        num_images = max(1, decodes_at_once(model) // at_once)
        part = bound_part(model, num_images, num_samples, at_once)
        timing = timed(part, options.repeats)
        minutes = TEST_IMAGES / num_images * timing.seconds / mesh.size / 60
        rate = f"{minutes:.1f} min for {TEST_IMAGES:,} images"
        rows.append(row(f"doubling {part.name}", timing, part.flops, one.flops, at_this_rate=rate))
    return rows


def measure_parts(options: Options, mesh: Mesh, peak: Peak, found: dict[str, Case]) -> list[dict[str, Any]]:
    """Each part of the steps on one device, with its share of the batch."""
    rows = []
    for name, case in found.items():
        if name in options.only:
            for part in parts_of_step(case.model, max(1, case.batch_size // mesh.size)):
                timing, flops, traffic = timed(part, options.repeats), part.flops, part.traffic
                fewest, bound = peak.roofline(flops, traffic)
                more = {"bytes": traffic, "roofline_s": fewest, "bound_by": bound}
                rows.append(row(f"{name}: {part.name}", timing, flops, peak.flops, **more))
    return rows


def as_tables(programs: Sequence[dict[str, Any]], parts: Sequence[dict[str, Any]]) -> str:
    """Both tables, the second only if there are parts."""
    head = ("program", "ms", "a second", "GFLOP", "TFLOP/s", "of peak", "temporary GiB", "compile s", "at this rate")
    cells = [
        (
            *(x["name"], f"{1e3 * x['seconds']:.3f}", f"{1 / x['seconds']:.2f}", f"{x['flops'] / 1e9:.2f}"),
            *(f"{x['flops_a_second'] / 1e12:.3f}", f"{x['share_of_peak']:.1%}", f"{x['temporary_gib']:.2f}"),
            *(f"{x['compile_s']:.1f}", x["at_this_rate"]),
        )
        for x in programs
    ]
    tables = [aligned(head, cells)]
    head = ("part, forward and backward", "ms", "GFLOP", "MB", "TFLOP/s", "roofline ms", "of roofline", "bound by")
    cells = [
        (
            *(x["name"], f"{1e3 * x['seconds']:.3f}", f"{x['flops'] / 1e9:.2f}", f"{x['bytes'] / 1e6:.1f}"),
            *(f"{x['flops_a_second'] / 1e12:.3f}", f"{1e3 * x['roofline_s']:.3f}"),
            *(f"{x['roofline_s'] / x['seconds']:.1%}", x["bound_by"]),
        )
        for x in parts
    ]
    return "\n\n".join([*tables, aligned(head, cells)] if parts else tables)


def main(options: Options) -> None:
    """Measures and reports; raises InputError for options that cannot be measured."""
    require_folder(options.json)
    require_sizes(repeats=options.repeats)
    mesh = parallel.make_mesh(options.num_devices)
    size = options.size if options.size != "auto" else "small" if jax.default_backend() == "cpu" else "paper"
    how = compute.choose(dtype=options.compute_dtype)
    if options.formulation != "auto":
        how = dataclasses.replace(how, formulation=options.formulation)
    about = {
        **describe_machine(),
        "devices": f"{mesh.size} x {jax.devices()[0].device_kind}",
        "size": size,
        "compute_dtype": how.dtype,
        "formulation": how.formulation,
    }
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    one = measure_peak(parallel.make_mesh(1), options.repeats, how.dtype)
    all_of_them = measure_peak(mesh, options.repeats, how.dtype) if mesh.size > 1 else one
    for name, peak in {"one device alone": one, "all devices": all_of_them}.items():
        print(f"{name}, measured: {peak.flops / 1e12:.3f} TFLOP/s, {peak.bandwidth / 1e9:.1f} GB/s")
    print()
    found = cases(size, how)
    programs = measure_programs(options, mesh, one, all_of_them, found)
    parts = measure_parts(options, mesh, one, found) if options.parts else []
    print(as_tables(programs, parts))
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        print(f"\npeak memory in use on a device: {stats['peak_bytes_in_use'] / GIB:.2f} GiB")
    if options.json:
        peaks = {"one_device": dataclasses.asdict(one), "all_devices": dataclasses.asdict(all_of_them)}
        result = {"machine": about, "peaks": peaks, "programs": programs, "parts": parts}
        options.json.write_text(json.dumps(result | {"command": sys.argv}, indent=2) + "\n")


if __name__ == "__main__":
    parallel.use_all_cores()
    with reported():
        config = (tyro.conf.FlagConversionOff,)
        main(paths.expanded_in(tyro.cli(Options, prog="python -m benchmarks.accelerator", config=config)))
