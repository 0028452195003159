"""Published figures of accelerators, and the time of a training step that they and a few stated assumptions predict.

A step is its dots and convolutions one after another, then the collectives, then the optimizer's update. Nothing
overlaps: an automaton uses the same weights in every step, so their gradient is complete only at the end of the
backward pass. For a machine whose compiler has said what share of the peak such a step reaches, with all that is around
its dots, they take that long. Else each takes as long as the slowest of its arithmetic, its memory traffic and a floor.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.flops import Operation

COMPUTE_SHARE = 0.4  # of the peak, that large dots and convolutions reach where no compiler has said more
MEMORY_SHARE = 0.7  # of the memory's bandwidth, that reads and writes reach
LINK_SHARE = 0.5  # of the links' bandwidth, that collectives reach: a small torus does not close its rings
BYTES_OF_ACTIVATION = 2  # bfloat16
UPDATE_BYTES = (
    8 * 4
)  # a parameter: its gradient is read for the norm; it, both moments and itself; the last three written


@dataclass(frozen=True)
class Machine:
    """A kind of device; figures are those of one device, which is half a chip where a chip has two cores.

    Devices of a torus reach their neighbours only; others form nodes, and `node_bandwidth` is what a node receives.
    """

    name: str
    peak_flops: float
    memory_bandwidth: float
    memory_bytes: float
    link_bandwidth: float
    operation_s: float
    hop_s: float
    devices_per_chip: int = 1
    devices_per_node: int | None = None
    node_bandwidth: float = math.inf
    published: Mapping[str, str] = field(default_factory=dict)

    def bandwidth(self, num_devices: int) -> float:
        """Bytes per second that each of so many devices receives in a collective, at most.

        What comes from other nodes enters a node once and is shared out inside it.
        """
        one_node = self.devices_per_node is None or num_devices <= self.devices_per_node
        return self.link_bandwidth if one_node else min(self.link_bandwidth, self.node_bandwidth)

    @property
    def balance(self) -> float:
        """FLOPs per byte, above which arithmetic outlasts memory traffic."""
        return COMPUTE_SHARE * self.peak_flops / (MEMORY_SHARE * self.memory_bandwidth)

    def num_hops(self, num_devices: int) -> float:
        """Hops one after another of an all-gather: along both axes of a square torus, or the levels of a tree."""
        if self.devices_per_node is not None:
            return math.log2(num_devices)
        return 2 * (math.sqrt(max(1, num_devices / self.devices_per_chip)) - 1)


@dataclass(frozen=True)
class Work:
    """What one device does in a step: dots and convolutions, parameters to update, bytes received by collective; and
    by a machine's name what share of its peak a compiled program with as many images reaches before the update.
    """

    operations: Sequence[Operation]
    num_updated: float
    moved: Mapping[str, float]
    compiled_shares: Mapping[str, float] = field(default_factory=dict)

    def sharing_update(self, num_devices: int) -> "Work":
        """Each device updates its share of the parameters, between a reduce-scatter and an all-gather."""
        return replace(self, num_updated=self.num_updated / num_devices)

    def halving_gradient(self) -> "Work":
        """The gradient travels in bfloat16."""
        return replace(self, moved={**self.moved, "all-reduce": self.moved["all-reduce"] / 2})

    def sending_states(self, num_devices: int) -> "Work":
        """States of the pool go only to the device that needs them, all-to-all."""
        states = {kind: self.moved[kind] / num_devices for kind in ("all-gather", "reduce-scatter")}
        return replace(self, moved={**self.moved, **states})


@dataclass(frozen=True)
class Prediction:
    """Seconds of a step by what they go to; the first three are the dots and convolutions, by what bounds each."""

    compute: float
    memory: float
    latency: float
    update: float
    collectives: float

    @property
    def step_s(self) -> float:
        """The whole step."""
        return self.compute + self.memory + self.latency + self.update + self.collectives

    @property
    def fixed_s(self) -> float:
        """What does not fall with the images a device has."""
        return self.latency + self.update + self.collectives

    @property
    def largest(self) -> str:
        """What most of the step is spent on."""
        parts = vars(self)
        return max(parts, key=lambda name: parts[name])


def predict(machine: Machine, work: Work, num_devices: int) -> Prediction:
    """The step of a device that does `work` beside `num_devices` - 1 others, who do the same."""
    seconds = {"compute": 0.0, "memory": 0.0, "latency": 0.0}
    compiled = work.compiled_shares.get(machine.name)
    if compiled:
        flops = sum(operation.times * operation.flops for operation in work.operations)
        seconds["compute"] = flops / (compiled * machine.peak_flops)
    for operation in () if compiled else work.operations:
        bounds = {
            "compute": operation.flops / (COMPUTE_SHARE * machine.peak_flops),
            "memory": operation.numbers * BYTES_OF_ACTIVATION / (MEMORY_SHARE * machine.memory_bandwidth),
            "latency": machine.operation_s,
        }
        slowest = max(bounds, key=lambda name: bounds[name])
        seconds[slowest] += operation.times * bounds[slowest]
    return Prediction(
        **seconds,
        update=update_s(machine, work.num_updated),
        collectives=_collectives(machine, work.moved, num_devices),
    )


def update_s(machine: Machine, num_updated: float) -> float:
    """Seconds of clipping and Adam, which are memory traffic."""
    return UPDATE_BYTES * num_updated / (MEMORY_SHARE * machine.memory_bandwidth)


def _collectives(machine: Machine, moved: Mapping[str, float], num_devices: int) -> float:
    """Bytes at the links' speed, and the hops, twice for an all-reduce; those of a kind are joined into one."""
    kinds = [kind for kind, num_bytes in moved.items() if num_bytes]
    passes = sum(2 if kind == "all-reduce" else 1 for kind in kinds)
    at_links = sum(moved.values()) / (LINK_SHARE * machine.bandwidth(num_devices))
    return at_links + passes * machine.num_hops(num_devices) * machine.hop_s


GOOGLE = "https://cloud.google.com/tpu/docs/"
BOOK = "https://jax-ml.github.io/scaling-book/"
H100_PAGE = "https://glennklockwood.com/garden/processors/h100"

TPU_V3 = Machine(
    name="TPU v3",
    peak_flops=123e12 / 2,
    memory_bandwidth=900e9 / 2,
    memory_bytes=32 * 2**30 / 2,
    link_bandwidth=340e12 / 1024 / 2,
    operation_s=2e-6,
    hop_s=1e-6,
    devices_per_chip=2,
    published={
        "a device": "a core, half a chip",
        "bfloat16": "123 TFLOP/s a chip",
        "memory": "32 GiB, 900 GB/s a chip",
        "links": "all-reduce 340 TB/s a pod of 1,024 chips",
        "source": f"{GOOGLE}v3",
    },
)
TPU_V5E = Machine(
    name="TPU v5e",
    peak_flops=197e12,
    memory_bandwidth=819e9,
    memory_bytes=16e9,
    link_bandwidth=51.2e12 / 256,
    operation_s=2e-6,
    hop_s=1e-6,
    published={
        "a device": "a chip of one core",
        "bfloat16": "197 TFLOP/s",
        "memory": "16 GB, 819 GB/s",
        "links": "all-reduce 51.2 TB/s a pod of 256 chips",
        "source": f"{GOOGLE}v5e",
    },
)
H100 = Machine(
    name="H100 SXM",
    peak_flops=989.4e12,
    memory_bandwidth=3.35e12,
    memory_bytes=80e9,
    link_bandwidth=450e9,
    operation_s=4e-6,
    hop_s=5e-6,
    devices_per_node=8,
    node_bandwidth=400e9,
    published={
        "a device": "a GPU; 8 a node",
        "bfloat16": "989.4 TFLOP/s, dense",
        "memory": "80 GB, 3.35 TB/s",
        "links": "NVLink 450 GB/s one way; 400 GB/s a node of 8 by InfiniBand",
        "source": f"{H100_PAGE} and, for the links, {BOOK}gpus/",
    },
)
MACHINES = (TPU_V3, TPU_V5E, H100)
