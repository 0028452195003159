"""What is saved: the training state while a run goes on, and a model as one file."""

import hashlib
import io
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import orbax.checkpoint as ocp

from vnca_jax.errors import InputError
from vnca_jax.models import MODELS, hyperparameters

FORMAT = "vnca_jax model 1"

T = TypeVar("T")


class Checkpoints:
    """The training states in `directory`, one folder a step, the newest `keep` of them; each is written atomically."""

    def __init__(self, directory: Path, *, keep: int):
        self._directory = directory
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def latest_step(self) -> int | None:
        """The step of the newest whole checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Saves `state`; raises InputError if the disk does not take it, and the checkpoints before it stay whole."""
        if step == self.latest_step():
            return
        try:
            self._manager.save(step, args=ocp.args.StandardSave(_flatten(state)))
            self._manager.wait_until_finished()
        except Exception as error:
            if not _is_disk_error(error):
                raise
            shutil.rmtree(self._directory / str(step), ignore_errors=True)
            kept = [other for other in self._manager.all_steps(read=True) if other != step]
            survivor = f"the checkpoint of step {max(kept)} is intact" if kept else "there was none before it"
            raise InputError(
                f"The checkpoint of step {step} could not be saved in {self._directory} ({_reason(error)}); "
                f"{survivor}: free some space and start again with the same command."
            ) from error

    def restore(self, like: T) -> T:
        """The newest state, with the structure, shapes, dtypes and placement of `like`.

        Raises InputError if it is damaged or another model's.
        """
        step = self.latest_step()
        path = self._directory / str(step)
        template = _flatten(like)
        try:
            saved = self._manager.restore(step, args=ocp.args.StandardRestore(jax.tree.map(_abstract, template)))
        except Exception as error:
            raise InputError(
                f"The checkpoint {path} cannot be read (it is damaged, or of another model); remove that folder to go "
                "on from the one before it, or choose another --name."
            ) from error
        return _unflatten(saved, like)

    def close(self) -> None:
        """Lets go of the folder."""
        self._manager.close()


def _flatten(state):
    """`state` as a flat dict of plain arrays; typed keys as their words."""
    leaves, _ = jax.tree.flatten_with_path(state)
    return {jax.tree_util.keystr(path): jr.key_data(leaf) if _is_key(leaf) else leaf for path, leaf in leaves}


def _unflatten(flat, like):
    def restored(path, leaf):
        saved = flat[jax.tree_util.keystr(path)]
        return jr.wrap_key_data(saved, impl=jr.key_impl(leaf)) if _is_key(leaf) else saved

    return jax.tree.map_with_path(restored, like)


def _abstract(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_disk_error(error):
    chain = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    texts = (
        "RESOURCE_EXHAUSTED",
        "No space left",
        "Permission denied",
        "PERMISSION_DENIED",
        "Read-only",
        "File too large",
    )
    return any(isinstance(e, OSError) or any(text in str(e) for text in texts) for e in chain)


def _reason(error):
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


# --- a model as one file: a line of JSON, then the leaves ------------------------------------------------------------


def export_model(path: Path, model: eqx.Module, **facts: Any) -> None:
    """Writes `model` to `path`, whole or not at all: one line of JSON (class, sizes, `facts`, versions, the SHA-256 of
    the rest), then its arrays. Raises InputError if the disk does not take it.
    """
    leaves = io.BytesIO()
    eqx.tree_serialise_leaves(leaves, model)
    header = {
        "format": FORMAT,
        "model": type(model).__name__,
        "sizes": hyperparameters(model),
        **facts,
        "versions": {name: version(name) for name in ("jax", "equinox")},
        "sha256": hashlib.sha256(leaves.getbuffer()).hexdigest(),
    }
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(leaves.getbuffer())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"The model cannot be written to {path} ({error.strerror}); what was there is untouched."
        ) from error


def import_model(path: Path) -> tuple[Any, dict[str, Any]]:
    """The model in the file `path` and its header; `path` may be a run directory with a `model.eqx`.

    Reads numbers and never runs code from the file. Raises InputError if there is none, it is not one of ours, or it is
    damaged.
    """
    file_path = path / "model.eqx" if path.is_dir() else path
    if not file_path.exists():
        what = f"{path} holds no model.eqx" if path.is_dir() else f"There is no file {path}"
        raise InputError(f"{what}; give a model.eqx or a run directory that has one.")
    with open(file_path, "rb") as file:
        header = _read_header(file, file_path)
        leaves = file.read()
    if hashlib.sha256(leaves).hexdigest() != header["sha256"]:
        raise InputError(f"{file_path} is damaged: its contents do not match its checksum; export or copy it again.")
    skeleton = eqx.filter_eval_shape(MODELS[header["model"]], **header["sizes"], key=jr.key(0))
    return eqx.tree_deserialise_leaves(io.BytesIO(leaves), skeleton), header


def _read_header(file: BinaryIO, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(file.readline(1 << 16))
        known = header["format"] == FORMAT and isinstance(header["sizes"], dict) and isinstance(header["sha256"], str)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise InputError(f"{path} is not a model of this project; give a model.eqx that one of its runs wrote.")
    if header["model"] not in MODELS:
        raise InputError(f"{path} holds a {header['model']}, which this version does not know ({', '.join(MODELS)}).")
    return header
