"""Scaling on paper: the step times and efficiencies that counted FLOPs and bytes predict for up to 256 devices.

Counts (`benchmarks.step_counts`), predicts (`benchmarks.hardware`) and writes the document; minutes on two cores.

    python -m benchmarks.scaling --out docs/scaling.md
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.hardware import (
    BOOK,
    COMPUTE_SHARE,
    LINK_SHARE,
    MACHINES,
    MEMORY_SHARE,
    UPDATE_BYTES,
    Machine,
    Prediction,
    predict,
)
from benchmarks.step_counts import CORES, MEAN_STEPS, STRONG, WEAK, Counted, count_all
from vnca_jax import paths
from vnca_jax.compute import KEPT_SHARE
from vnca_jax.errors import reported
from vnca_jax.writing import write_text

NUM_DEVICES = (1, *STRONG, WEAK)
SHOWN = STRONG[-1]  # devices for which a step is taken apart
NONE = "-"
TEMPLATE = Path(__file__).with_name("scaling_template.md")
WHY = {
    "latency": "the floor under {sequential:,} dots and convolutions one after another",
    "update": "the update of {parameters:,} parameters, which each device does in full",
    "collectives": "the collectives",
}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right of the first column."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def milliseconds(seconds: float) -> str:
    """To three digits; whole numbers from 100 on."""
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def count_table(counts: Sequence[Counted]) -> str:
    """What a step computes."""
    header = ["model", "images", "parameters", "TFLOP", "GFLOP an image", "in sequence", "traffic, GB", "FLOP a byte"]
    return table(
        header,
        [
            [
                counted.case.name,
                f"{counted.case.batch_size}",
                f"{counted.num_parameters:,}",
                f"{counted.flops / 1e12:.4g}",
                f"{counted.flops / counted.case.batch_size / 1e9:.4g}",
                f"{counted.num_sequential:,}",
                f"{counted.traffic / 1e9:.3g}",
                f"{counted.flops / counted.traffic:.0f}",
            ]
            for counted in counts
        ],
    )


def moved_table(counts: Sequence[Counted]) -> str:
    """What was counted in compiled programs, in MB."""
    header = ["model", "devices", "batch", "all-reduce", "all-gather", "reduce-scatter", "together, MB", "by the rule"]
    rows = []
    for counted in counts:
        for (num_devices, batch_size), moved in counted.compiled.items():
            kinds = [f"{moved[kind] / 1e6:,.1f}" for kind in ("all-reduce", "all-gather", "reduce-scatter")]
            rule = sum(counted.moved(num_devices, batch_size).values())
            totals = [f"{sum(moved.values()) / 1e6:,.1f}", f"{rule / 1e6:,.1f}"]
            rows.append([counted.case.name, f"{num_devices}", f"{batch_size:,}", *kinds, *totals])
    return table(header, rows)


def machine_table() -> str:
    """The published figures, then the assumed latencies."""
    names = list(MACHINES[0].published)
    rows = [[name, *[machine.published[name] for machine in MACHINES]] for name in names]
    rows.append(["so a device", *[of_a_device(machine) for machine in MACHINES]])
    rows.append(["its balance, FLOP a byte", *[f"{machine.balance:.0f}" for machine in MACHINES]])
    rows.append(["assumed: floor of an operation", *[f"{1e6 * machine.operation_s:.0f} us" for machine in MACHINES]])
    rows.append(["assumed: a hop", *[f"{1e6 * machine.hop_s:.0f} us" for machine in MACHINES]])
    return table(["", *[machine.name for machine in MACHINES]], rows)


def of_a_device(machine: Machine) -> str:
    """Peak, memory's bandwidth, and what it receives at most in a collective inside a torus or node."""
    figures = (machine.peak_flops / 1e12, machine.memory_bandwidth / 1e9, machine.link_bandwidth / 1e9)
    return "{:.4g} TFLOP/s, {:,.0f} GB/s, links {:.0f} GB/s".format(*figures)


def share_table(counts: Sequence[Counted]) -> str:
    """The shares of the peak in compiled programs."""
    rows = []
    for counted in counts:
        for machine in MACHINES:
            shares = []
            for each, num_cores in CORES.values():
                num_images = counted.case.batch_size // num_cores
                if each is machine and (found := counted.compiled_shares(num_images)):
                    shares.append(f"{found[machine.name]:.0%} of {num_cores} cores with {num_images}")
            if shares:
                rows.append([counted.case.name, machine.name, ", ".join(shares)])
    return table(["model", "machine", "share, by images per core"], rows)


def times_table(counts: Sequence[Counted], cell: Callable[[Counted, Machine, int], str]) -> str:
    """A row for each model and machine, a column for each number of devices."""
    rows = [
        [counted.case.name, machine.name, *[cell(counted, machine, n) for n in NUM_DEVICES]]
        for counted in counts
        for machine in MACHINES
    ]
    return table(["model", "machine", *[f"n = {n}" for n in NUM_DEVICES]], rows)


def strong_cell(counted: Counted, machine: Machine, num_devices: int) -> str:
    """Time and efficiency with the paper's batch."""
    if num_devices > counted.most_devices:
        return NONE
    step_s = counted.strong(machine, num_devices).step_s
    return f"{milliseconds(step_s)} ms, {counted.strong_efficiency(machine, num_devices):.0%}"


def weak_cell(counted: Counted, machine: Machine, num_devices: int) -> str:
    """Time and efficiency with the paper's batch on each device."""
    one, many = counted.weak(machine, 1), counted.weak(machine, num_devices)
    return f"{milliseconds(many.step_s)} ms, {one.step_s / many.step_s:.0%}"


def parts_table(counts: Sequence[Counted]) -> str:
    """The parts of a step."""
    rows = []
    for counted in counts:
        for machine in MACHINES:
            for num_devices in (1, SHOWN):
                found = counted.strong(machine, num_devices)
                parts = [milliseconds(seconds) if seconds else "0" for seconds in vars(found).values()]
                rows.append([counted.case.name, machine.name, f"{num_devices}", *parts, found.largest])
    names = [part.name for part in dataclasses.fields(Prediction)]
    return table(["model", "machine", "n", *names, "most"], rows)


def why_it_stops(counted: Counted, machine: Machine) -> str:
    """Where the paper's batch stops being worth more devices, and what keeps it."""
    most = counted.most_devices
    devices = [1 << i for i in range(most.bit_length())]
    steps = {n: counted.strong(machine, n) for n in devices}
    efficient = max(n for n in devices if counted.strong_efficiency(machine, n) >= 0.5)
    fastest = min(devices, key=lambda n: steps[n].step_s)
    crossing = next((n for n in devices if steps[n].fixed_s >= steps[n].step_s / 2), None)
    last = steps[most]
    why = WHY[max(WHY, key=lambda name: getattr(last, name))]
    why = why.format(sequential=counted.num_sequential, parameters=counted.num_parameters)
    if efficient == 1 < most:
        text = f"- {machine.name}: less than half efficient on 2 devices or more"
    else:
        text = f"- {machine.name}: at least half efficient up to {efficient}"
        text += ", the batch's limit" if efficient == most else f" of {most} devices"
    text += ". The fixed part is never" if crossing is None else f". From {crossing} on, the fixed part is at least"
    text += f" half of the step; on {most} it is {milliseconds(last.fixed_s)} of {milliseconds(last.step_s)} ms, "
    text += f"mostly {why}."
    if fastest < most:
        text += f" No step is shorter than that of {fastest} ({milliseconds(steps[fastest].step_s)} ms)."
    return text + "\n"


def why_growing_stops(counted: Counted) -> str:
    """Whether a batch that grows with the devices stops, and where collectives take half of the step."""
    batch, numbers, halves = counted.case.batch_size, [1 << i for i in range(17)], {}
    for machine in MACHINES:
        steps = ((n, counted.weak(machine, n)) for n in numbers)
        halves[machine.name] = next((n for n, step in steps if step.collectives >= step.step_s / 2), None)
    where = [f"from {n:,} devices on with {name}" for name, n in halves.items() if n]
    never = [name for name, n in halves.items() if not n]
    where += [f"nowhere up to {numbers[-1]:,} devices with {', '.join(never)}"] if never else []
    gathered = WEAK * batch * counted.cell_bytes / 1e9
    held = f", and holds all {gathered:.1f} GB of the batch's states at once to put them back" if gathered else ""
    many, few = (sum(counted.moved(n, n * batch).values()) for n in (WEAK, STRONG[0]))
    return (
        f"- With the paper's batch on each device, each of {WEAK} receives {many / 1e6:,.0f} MB a step, "
        f"{many / few:.3g} times as much as each of {STRONG[0]}{held}. Collectives take half of the step or more: "
        f"{'; '.join(where)}.\n"
    )


def what_is_recomputed(counted: Counted) -> str:
    """Which devices are too small for the paper's batch."""
    small = [machine.name for machine in MACHINES if counted.recomputes(machine)]
    if not small:
        return ""
    return f"- One device alone cannot keep everything for the gradient of the batch: {', '.join(small)}.\n"


def help_table(counts: Sequence[Counted]) -> str:
    """The step of SHOWN devices, as it is and with each remedy."""
    header = ["model", "machine", "as it is", "shared update", "bfloat16 gradient", "half the floor", "pool", "all"]
    rows = []
    for counted in counts:
        work = counted.work(SHOWN, counted.case.batch_size)
        for machine in MACHINES:
            quick = dataclasses.replace(machine, operation_s=machine.operation_s / 2)
            every = work.sharing_update(SHOWN).halving_gradient().sending_states(SHOWN)
            tried = [(machine, work), (machine, work.sharing_update(SHOWN)), (machine, work.halving_gradient())]
            tried += [(quick, work), (machine, work.sending_states(SHOWN)), (quick, every)]
            times = [milliseconds(predict(*one, SHOWN).step_s) for one in tried]
            if not counted.case.pool_states:
                times[4] = NONE
            rows.append([counted.case.name, machine.name, *times])
    return table(header, rows)


def render(counts: Sequence[Counted]) -> str:
    """The whole document."""
    reasons = [
        f"### {counted.case.name}\n\n"
        + "".join(why_it_stops(counted, machine) for machine in MACHINES)
        + why_growing_stops(counted)
        + what_is_recomputed(counted)
        for counted in counts
    ]
    text = TEMPLATE.read_text().format(
        count_table=count_table(counts),
        moved_table=moved_table(counts),
        machine_table=machine_table(),
        share_table=share_table(counts),
        strong_table=times_table(counts, strong_cell),
        parts_table=parts_table(counts),
        weak_table=times_table(counts, weak_cell),
        reasons="\n".join(reasons),
        help_table=help_table(counts),
        mean_steps=MEAN_STEPS,
        compute_share=COMPUTE_SHARE,
        memory_share=MEMORY_SHARE,
        link_share=LINK_SHARE,
        update_bytes=UPDATE_BYTES,
        shown=SHOWN,
        weak=WEAK,
        weak_batch=WEAK * min(counted.case.batch_size for counted in counts),
        none=NONE,
        kept_share=KEPT_SHARE,
        book=BOOK,
    )
    return text.rstrip("\n") + "\n"


@dataclass(frozen=True)
class Options:
    """Counts a step of the paper's models, and prints or writes what it predicts for many devices."""

    out: Path | None = None
    """File to write the document to; None prints it."""


def main(options: Options) -> None:
    """Counts and writes."""
    text = render(count_all())
    if options.out is None:
        print(text, end="")
    else:
        write_text(options.out, text)


if __name__ == "__main__":
    with reported():
        main(paths.expanded_in(tyro.cli(Options, prog="python -m benchmarks.scaling")))
