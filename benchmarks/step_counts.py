"""What a training step of the paper's models computes and moves, counted and not run.

FLOPs and memory traffic come from the step's jaxpr, collectives from programs compiled for up to 256 devices.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.sharding import Mesh, NamedSharding

from benchmarks.cpu_devices import with_devices
from benchmarks.flops import Operation, find_operations
from benchmarks.hardware import (
    BYTES_OF_ACTIVATION,
    TPU_V3,
    TPU_V5E,
    Machine,
    Prediction,
    Work,
    predict,
    update_s,
)
from benchmarks.pool_traffic import count_program
from vnca_jax import bounds, losses, parallel, remat, train
from vnca_jax import pool as pools
from vnca_jax.compute import KEPT_SHARE, Compute
from vnca_jax.models import ConvVAE, DoublingVNCA, NonDoublingVNCA
from vnca_jax.step import TrainState, make_optimizer, make_steps

STRONG, WEAK = (8, 32), 256  # devices that programs are compiled for, with the paper's batch in all and on each
COUNTED = Compute("float32", "lax")  # a type has no part in what is counted
COMPILED = Path(__file__).with_name("tpu.json")  # what benchmarks.tpu has found
CORES = {"v5e:2x4": (TPU_V5E, 8), "v5e:4x8": (TPU_V5E, 32), "v3:2x2": (TPU_V3, 8)}
NUM_IMAGES = 60_000  # of the dataset on the device


@dataclass(frozen=True)
class Case:
    """A model in the paper's size, and its batch; with a pool, of so many states for each image of the batch.

    What the model computes is counted with `counted_with` among its arguments.
    """

    name: str
    experiment: str
    model: type
    batch_size: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    pool_states: int = 0
    counted_with: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fewest_images(self) -> int:
        """Images that a device must have: half of them come from the pool."""
        return 2 if self.pool_states else 1


MEAN_STEPS = 48  # of T ~ U{32, ..., 64}
AT_MEAN = {"min_steps": MEAN_STEPS, "max_steps": MEAN_STEPS}
COLOUR = {"image_channels": 3, "num_doublings": 5, "num_mixtures": 1}
CASES = (
    Case("doubling VNCA, MNIST", "mnist_doubling", DoublingVNCA, 32),
    Case("non-doubling VNCA, MNIST", "mnist_nondoubling", NonDoublingVNCA, 128, pool_states=8, counted_with=AT_MEAN),
    Case("convolutional baseline, MNIST", "mnist_baseline", ConvVAE, 32),
    Case("doubling VNCA, CelebA", "celeba_doubling", DoublingVNCA, 32, COLOUR),
)


@dataclass(frozen=True)
class Counted:
    """What was counted: operations of a device by its number of images; bytes received by (devices, batch) and kind.

    `kept_bytes` an image are kept for the gradient; a pool's state has `cell_bytes`, without a pool they are zero.
    """

    case: Case
    num_parameters: int
    kept_bytes: int
    cell_bytes: int
    operations: Mapping[int, Sequence[Operation]]
    compiled: Mapping[tuple[int, int], Mapping[str, int]]

    @property
    def flops(self) -> float:
        """FLOPs of a step with the paper's batch."""
        return sum(op.times * op.flops for op in self.operations[self.case.batch_size])

    @property
    def traffic(self) -> float:
        """Bytes that the operations of such a step read and write in bfloat16."""
        return BYTES_OF_ACTIVATION * sum(op.times * op.numbers for op in self.operations[self.case.batch_size])

    @property
    def num_sequential(self) -> int:
        """Dots and convolutions of a step, one after another."""
        return sum(op.times for op in self.operations[self.case.batch_size])

    @property
    def most_devices(self) -> int:
        """Devices that the paper's batch can be shared among."""
        return self.case.batch_size // self.case.fewest_images

    def moved(self, num_devices: int, batch_size: int) -> dict[str, float]:
        """Bytes a device receives: the gradient there and back; half a batch drawn from the pool, all put back."""
        others = (num_devices - 1) / num_devices
        states = batch_size * self.cell_bytes
        gradient = 2 * 4 * self.num_parameters
        return {"all-reduce": others * gradient, "all-gather": others * states, "reduce-scatter": others * states / 2}

    def work(self, num_devices: int, batch_size: int) -> Work:
        """What each of so many devices does in a step."""
        num_images = batch_size // num_devices
        moved = self.moved(num_devices, batch_size)
        return Work(self.operations[num_images], self.num_parameters, moved, self.compiled_shares(num_images))

    def compiled_shares(self, num_images: int) -> dict[str, float]:
        """By a machine's name the share of its peak that its compiler's cycles make, without those of the update, of
        the program in COMPILED whose cores have the number of images nearest to this one.
        """
        found: dict[str, dict[int, float]] = {}
        for row in json.loads(COMPILED.read_text()):
            if (row["experiment"], row["program"]) == (self.case.experiment, "update"):
                machine, num_cores = CORES[row["topology"]]
                rest = row["ms"] - 1e3 * update_s(machine, self.num_parameters)
                each = self.case.batch_size // num_cores
                found.setdefault(machine.name, {})[each] = row["share"] * row["ms"] / rest
        nearest = {name: min(each, key=lambda n: abs(math.log(n / num_images))) for name, each in found.items()}
        return {name: found[name][images] for name, images in nearest.items()}

    def strong(self, machine: Machine, num_devices: int) -> Prediction:
        """A step with the paper's batch, shared among the devices."""
        return predict(machine, self.work(num_devices, self.case.batch_size), num_devices)

    def strong_efficiency(self, machine: Machine, num_devices: int) -> float:
        """t(1) / (n t(n)) with the paper's batch."""
        return self.strong(machine, 1).step_s / (num_devices * self.strong(machine, num_devices).step_s)

    def weak(self, machine: Machine, num_devices: int) -> Prediction:
        """A step with the paper's batch on each device."""
        return predict(machine, self.work(num_devices, self.case.batch_size * num_devices), num_devices)

    def recomputes(self, machine: Machine) -> bool:
        """Whether a device that has the paper's batch to itself has too little memory to keep all for the gradient."""
        return self.kept_bytes * self.case.batch_size > KEPT_SHARE * machine.memory_bytes


def make_step(case: Case, mesh: Mesh, batch_size: int) -> tuple[Any, tuple[Any, ...]]:
    """A compiled update, and the shapes and shardings of its arguments."""
    model = shapes_of(case, **case.counted_with)
    carry, loss = None, losses.elbo_loss()
    if case.pool_states:
        image_shape = (model.image_size, model.image_size, model.image_channels)
        size, one = case.pool_states * batch_size, pools.empty(1, image_shape, model.latent_size)
        carry = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), one)
        loss = losses.pool_loss(size=size)
    config = train.TrainConfig(
        batch_size=batch_size, chunk_size=batch_size // mesh.size
    )  # all at once, as accelerators
    return step_of_shapes(model, loss, carry, mesh, config, num_images=NUM_IMAGES, max_steps=1)


def step_of_shapes(
    model: Any, loss: losses.Loss, carry: Any, mesh: Mesh, config: train.TrainConfig, *, num_images: int, max_steps: int
) -> tuple[Any, tuple[Any, ...]]:
    """Up to `max_steps` updates of a model on a dataset of so many images, and what they are given, as shapes alone."""
    optimizer = make_optimizer(config.learning_rate)
    step, key = jax.eval_shape(lambda: (jnp.int32(0), jr.key(0)))
    state = placed(TrainState(step, model, jax.eval_shape(optimizer.init, model), None, key), mesh)
    state = dataclasses.replace(state, carry=placed(carry, mesh, parallel.SHARDED))
    images = placed(images_of(num_images, model), mesh)
    sizes: Any = {"batch_size": config.batch_size, "max_steps": max_steps}
    return make_steps(loss, optimizer, mesh, **sizes, **config.of_steps), (state, images, 1)


def images_of(number: int, model: Any) -> Any:
    """The shape of so many of a model's images."""
    return jax.ShapeDtypeStruct((number, model.image_size, model.image_size, model.image_channels), jnp.uint8)


def placed(tree: Any, mesh: Mesh, spec: Any = parallel.REPLICATED) -> Any:
    """The shapes of the arrays of `tree`, on the devices of `mesh`."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def shapes_of(case: Case, **changes: Any) -> Any:
    """The model of a case, shapes in place of its parameters."""
    return eqx.filter_eval_shape(case.model, **{**case.arguments, **changes}, compute=COUNTED, key=jr.key(0))


def kept_bytes(case: Case) -> int:
    """What the gradient of one image keeps, of the most steps, in float32."""
    model = shapes_of(case)

    def loss(model, examples):
        x, noise = examples
        if not case.pool_states:
            terms = bounds.elbo(model, x, noise)
            return -terms.elbo.mean(), terms
        mean, log_variance = model.encode(x)
        most = model.sizes.max_steps
        cells = model.steps(model.seed(bounds.reparameterize(mean, log_variance, noise)), most, max_steps=most)
        return -model.likelihood.log_prob(model.outputs(cells), x).mean(), cells

    shapes = (model.image_size, model.image_size, model.image_channels), (model.latent_size,)
    return remat.kept_bytes(loss, model, tuple(jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in shapes))


def count_operations(case: Case, num_images: int) -> list[Operation]:
    """The dots and convolutions of one device's step on so many images, as accelerators compute them."""
    take_steps, arguments = make_step(case, parallel.make_mesh(1), num_images)
    return find_operations(take_steps, *arguments)


def count_moved(case: Case, num_devices: int, batch_size: int) -> dict[str, int]:
    """Bytes that a device receives in a step compiled for so many, by kind of collective."""
    take_steps, arguments = make_step(case, parallel.make_mesh(num_devices), batch_size)
    return count_program(take_steps.lower(*arguments).compile()).moved


def count(case: Case) -> Counted:
    """All that the document needs of a case; raises ValueError if what is moved is not what the rule says."""
    model = shapes_of(case)
    state_bytes = model.image_size**2 * (model.image_channels + 4 * model.latent_size)
    images = [case.batch_size >> i for i in range(int(math.log2(case.batch_size // case.fewest_images)) + 1)]
    places = [(n, case.batch_size) for n in STRONG] + [(WEAK, WEAK * case.batch_size)]
    counted = Counted(
        case,
        sum(leaf.size for leaf in jax.tree.leaves(model)),
        kept_bytes(case),
        state_bytes if case.pool_states else 0,
        {n: count_operations(case, n) for n in images},
        {place: count_moved(case, *place) for place in places},
    )
    for place, moved in counted.compiled.items():
        rule = counted.moved(*place)
        if any(abs(num_bytes - rule.get(kind, 0)) > 1e-4 * sum(rule.values()) for kind, num_bytes in moved.items()):
            raise ValueError(f"{case.name} on {place[0]} devices moves {dict(moved)}, but by the rule {rule}")
    return counted


def count_all(cases: Sequence[Case] = CASES) -> list[Counted]:
    """The counts of all cases, in a process of its own that has enough CPU devices."""
    return with_devices(WEAK, count_each, cases)


def count_each(cases: Sequence[Case]) -> list[Counted]:
    """The same in a process that has them."""
    return [count(case) for case in cases]
