"""A trained model as ONNX graphs, for a browser or another runtime: `python -m vnca_jax.onnx --ckpt PATH --out FOLDER`.

The folder gets `manifest.json` and the graphs of the model's class, for one image, channel-last, float32 in and out:

    encoder.onnx   x (1, h, w, c) -> mean, log_variance (1, latent)          all
    step.onnx      cells (1, h, w, cell) -> cells after one step of eq. 1    automata
    double.onnx    cells (1, h, w, cell) -> cells (1, 2h, 2w, cell)          doubling VNCA
    decoder.onnx   z (1, latent) -> outputs (1, h, w, outputs)               baseline
    mean.onnx      cells, or the baseline's outputs -> E[x] (1, h, w, c)     all

A model with an update network for each scale has step_0.onnx, step_1.onnx and so on; one whose cells are updated at
random takes a second input, `updated` (1, h, w, 1), which is one where a cell is updated and else zero.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import tyro

from vnca_jax import automaton, conv, paths, pretrained_models
from vnca_jax.checkpoint import Storage, import_model
from vnca_jax.compute import Compute
from vnca_jax.errors import InputError, reported
from vnca_jax.models import MODELS, VAE, VNCA, ConvVAE, DoublingVNCA, NonDoublingVNCA, hyperparameters, replace
from vnca_jax.writing import write_bytes, write_json

LAX = Compute("float32", "lax")  # ONNX has a convolution
FORMAT = "vnca_jax onnx 1"
OPSET = 18  # runtimes of 2023 and later have it
VISIBLE = 1 / 510  # of E[x]: half of a level of a screen's 256
NUM_SAMPLES = 32  # z ~ p(z) that stand for what the model makes
SMALLEST = 16  # numbers of a tensor that is worth a Cast
FACTS = ("experiment", "command", "updates", "training_seconds", "config", "evaluation")  # of a run's results.json


@dataclasses.dataclass(frozen=True)
class Graph:
    """A function of arrays, the shapes of its inputs by name, in order, and its outputs' names."""

    function: Callable[..., Any]
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: tuple[str, ...]


def graphs(model: Any) -> dict[str, Graph]:
    """The graphs of `model` by name; `h` and `w` stand for sides that may have any size."""
    if type(model) not in MODELS.values():
        raise InputError(f"A {type(model).__name__} has no export; the models are {', '.join(MODELS)}.")
    model = replace(model, compute=LAX)
    side = model.image_size
    image = {"x": (1, side, side, model.image_channels)}
    encoder = {"encoder": Graph(model.encode, image, ("mean", "log_variance"))}
    match model:
        case ConvVAE():
            outputs = {"outputs": (1, side, side, model.likelihood.num_outputs(model.image_channels))}
            return encoder | {
                "decoder": Graph(model.decode, {"z": (1, model.latent_size)}, ("outputs",)),
                "mean": Graph(model.likelihood.mean, outputs, ("mean",)),
            }
        case NonDoublingVNCA():
            steps = {"step": _step(model.update, model.latent_size, model.sizes.update_probability < 1)}
        case DoublingVNCA(update=tuple() as networks):
            steps = {f"step_{k}": _step(network, model.latent_size) for k, network in enumerate(networks)}
        case _:
            steps = {"step": _step(model.update, model.latent_size)}
    cells = {"cells": (1, "h", "w", model.latent_size)}
    if isinstance(model, DoublingVNCA):
        steps["double"] = Graph(automaton.double, cells, ("doubled",))
    mean = Graph(lambda cells: model.likelihood.mean(model.outputs(cells)), cells, ("mean",))
    return encoder | steps | {"mean": mean}


def _step(network, cell_size, at_random=False):
    """A step, cells + u(cells), as `automaton.run` takes it; with `at_random`, only of the cells that are `updated`."""
    cells, network = {"cells": (1, "h", "w", cell_size)}, conv.prepare(network, LAX.formulation)
    if at_random:
        inputs = cells | {"updated": (1, "h", "w", 1)}
        return Graph(lambda cells, updated: cells + updated * network(cells), inputs, ("next",))
    return Graph(lambda cells: cells + network(cells), cells, ("next",))


def convert(graph: Graph) -> bytes:
    """`graph` as a file's content. Numbers that float16 has exactly are stored so, which changes no result.

    Raises InputError if jax2onnx is not installed.
    """
    with _silenced():
        try:
            from jax2onnx import to_onnx
            from onnx import TensorProto, checker, helper, numpy_helper  # pyright: ignore (the package, not this file)
        except ImportError as error:
            raise InputError(
                "The export needs jax2onnx, which is not installed; install it with: pip install 'vnca-jax[web]'"
            ) from error
        proto = to_onnx(
            graph.function,
            list(graph.inputs.values()),
            opset=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
        )
    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        exact = numpy_helper.to_array(tensor)
        half = exact.astype(np.float16)
        if exact.size >= SMALLEST and np.array_equal(half.astype(np.float32), exact):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_float16"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    checker.check_model(proto)
    return proto.SerializeToString()


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Without what the converter says of plugins that do not load, and of inner values whose types it leaves out."""
    levels = {logger: logger.level for logger in map(logging.getLogger, ("jax2onnx", "onnx_ir"))}
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def rounded(model: Any) -> tuple[Any, Storage]:
    """`model` with its parameters rounded to float16, unless that changes its pictures visibly, and their type."""
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.float16).astype(leaf.dtype), model)
    mean = jax.jit(lambda model: model.likelihood.mean(model.sample(NUM_SAMPLES, key=jr.key(0))))
    change = float(jnp.abs(mean(half) - mean(model)).max())
    return (half, "float16") if change <= VISIBLE else (model, "float32")  # NaN, from a number beyond float16, is not


def components(model: VNCA) -> dict[str, Any]:
    """The three principal components of the grown cells of samples z ~ p(z), to be shown as colours.

    A cell's colour is (directions @ (cell - mean) - low) / (high - low), where `low` and `high` are the components' 1st
    and 99th percentiles.
    """
    z = jr.normal(jr.key(0), (NUM_SAMPLES, model.latent_size))
    cells = np.asarray(jax.jit(lambda z: model.grow(z)[-1][-1])(z), np.float64).reshape(-1, model.latent_size)
    mean = cells.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(cells.T).reshape(model.latent_size, -1))
    directions = vectors.T[::-1][:3]
    low, high = np.percentile((cells - mean) @ directions.T, (1, 99), axis=0)
    found = {"mean": mean, "directions": directions, "low": low, "high": high}
    return {name: np.round(value, 6).tolist() for name, value in found.items()}


def export(model: VAE, folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Writes the graphs of `model` and a manifest with the `facts` to `folder`; returns the manifest."""
    model, storage = rounded(model)
    files = {}
    for name, graph in graphs(model).items():
        content = convert(graph)
        write_bytes(folder / f"{name}.onnx", content)
        files[name] = {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "inputs": graph.inputs,
            "outputs": graph.outputs,
        }
    manifest = {
        "format": FORMAT,
        "model": type(model).__name__,
        "sizes": hyperparameters(model) | {"image_size": model.image_size},
        "likelihood": type(model.likelihood).__name__,
        "storage": storage,
        "graphs": files,
        "components": components(model) if isinstance(model, VNCA) else None,
        **facts,
    }
    write_json(folder / "manifest.json", manifest)
    return manifest


def facts_of_run(ckpt: Path) -> dict[str, Any]:
    """What the results.json beside the model file says of its training and evaluation; nothing where there is none."""
    path = paths.expanded(pretrained_models.resolve(ckpt))
    file = (path if path.is_dir() else path.parent) / "results.json"
    try:
        results = json.loads(file.read_text())
        return {name: results[name] for name in FACTS if name in results}
    except (OSError, ValueError, TypeError):
        return {}


@dataclasses.dataclass(frozen=True)
class Options:
    """Writes a trained model as ONNX graphs, for a browser or another runtime."""

    ckpt: Path
    """A model.eqx, a run directory that holds one, or pretrained:NAME."""
    out: Path
    """The folder for the graphs and their manifest.json."""


def main(options: Options) -> dict[str, Any]:
    """Exports, and prints what has been written."""
    model, header = import_model(options.ckpt)
    facts = {"dataset": header.get("dataset"), "step": header.get("step"), "results": facts_of_run(options.ckpt)}
    manifest = export(model, options.out, facts)
    print(f"{manifest['model']} of {options.ckpt}, its numbers as {manifest['storage']}, in {options.out}:")
    for name, graph in manifest["graphs"].items():
        signature = f"{', '.join(graph['inputs'])} -> {', '.join(graph['outputs'])}"
        print(f"  {name + '.onnx':<14}{graph['bytes']:>12,} bytes  {signature}")
    return manifest


def command(prog: str, arguments: list[str]) -> None:
    """Exports as the flags say; a mistake in them is one sentence and exit code 2."""
    with reported():
        options = tyro.cli(Options, args=arguments, prog=prog, description=Options.__doc__)
        main(paths.expanded_in(options))


if __name__ == "__main__":
    command("python -m vnca_jax.onnx", sys.argv[1:])
