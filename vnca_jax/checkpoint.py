"""What is saved: the training state while a run goes on, and a model as one file."""

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import orbax.checkpoint as ocp

from vnca_jax import paths, pretrained_models, processes, update_networks, writing
from vnca_jax.compute import Compute
from vnca_jax.errors import InputError
from vnca_jax.models import MODELS, VAE, hyperparameters

FORMAT = "vnca_jax model 1"
SPARE_BYTES = 1 << 20  # of disk that a checkpoint needs beyond its arrays, at most
TEMPORARY = ".orbax-checkpoint-tmp"  # at the end of a folder's name while Orbax writes in it

T = TypeVar("T")
Storage = Literal["float32", "float16"]  # of a model file's numbers; what is read is float32 again


class Checkpoints:
    """The training states in `directory`, one folder a step, the newest `keep` of them; each is written atomically.

    Of several processes all must call the methods, and each writes and reads its own parts in the same folder.
    """

    def __init__(self, directory: Path, *, keep: int):
        self._directory = directory
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(directory.absolute(), options=options)
        except OSError as error:
            raise InputError(
                f"The folder {directory} cannot be used ({paths.reason(error)}); choose another --name."
            ) from error

    def latest_step(self) -> int | None:
        """The step of the newest whole checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any) -> None:
        """Saves `state`; raises InputError if the disk does not take it, and the checkpoints before it stay whole."""
        if step == self.latest_step():
            return
        arrays = _flatten(state)
        try:
            needed = sum(array.nbytes for array in arrays.values()) + SPARE_BYTES
            if shutil.disk_usage(self._directory).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with _orbax_silenced():
                self._manager.save(step, args=ocp.args.StandardSave(arrays))
                self._manager.wait_until_finished()
        except Exception as error:
            number = _disk_error(error)
            if number is None:
                raise
            if processes.is_first():
                for torn in (str(step), f"{step}{TEMPORARY}"):
                    shutil.rmtree(self._directory / torn, ignore_errors=True)
            kept = [other for other in self._manager.all_steps() if other != step]
            survivor = f"the checkpoint of step {max(kept)} is intact" if kept else "there was none before it"
            raise InputError(
                f"The checkpoint of step {step} could not be saved in {self._directory} ({os.strerror(number)}); "
                f"{survivor}: {paths.remedy_of_writing(OSError(number, ''))} and start again with the same command."
            ) from error

    def restore(self, like: T) -> T:
        """The newest state, with the structure, shapes, dtypes and placement of `like`.

        Raises InputError if it is damaged or another model's.
        """
        step = self.latest_step()
        path = self._directory / str(step)
        template = _flatten(like)
        try:
            with _orbax_silenced():
                arrays_path: Any = (path / "default").absolute()
                there = ocp.StandardCheckpointHandler().metadata(arrays_path).tree
                if jax.tree.map(_shape, there) != jax.tree.map(_shape, template):
                    raise ValueError("another model's arrays")
                saved = self._manager.restore(step, args=ocp.args.StandardRestore(jax.tree.map(_abstract, template)))
        except Exception as error:
            if processes.is_loss(error) or isinstance(error, jax.errors.JaxRuntimeError):
                raise
            if closed := _closed(error):
                raise InputError(f"The checkpoint {path} cannot be read ({closed}): allow it.") from error
            before = any(other != step for other in self._manager.all_steps())
            raise InputError(
                f"The checkpoint {path} cannot be read (it is damaged, or of another model: {type(error).__name__}); "
                f"remove that folder to {'resume from the one before it' if before else 'start again'}, or choose "
                "another --name."
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


def _shape(leaf):
    return leaf.shape, leaf.dtype


def _abstract(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@contextlib.contextmanager
def _orbax_silenced() -> Iterator[None]:
    """Its log, which has the tracebacks of all its threads; what goes wrong is raised too."""
    log = logging.getLogger("absl")
    was_disabled, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was_disabled


def _disk_error(error):
    """The operating system's number, if it is behind `error`, else None; TensorStore puts it in the text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        if number := re.search(r"os_error_code='(\d+)'", str(error)):
            return int(number[1])
        error = error.__cause__ or error.__context__
    return None


def _closed(error):
    """What the operating system said, if it is behind `error` that something may not be read, else None."""
    number = _disk_error(error)
    return os.strerror(number) if number in paths.CLOSED else None


# --- a model as one file: a line of JSON, then the leaves ------------------------------------------------------------


def export_model(path: Path, model: VAE, *, storage: Storage = "float32", **facts: Any) -> None:
    """Writes `model` to `path`, whole or not at all: one line of JSON (class, sizes, `facts`, versions, the SHA-256 of
    all else in the file), then its arrays, rounded to `storage`. Raises InputError if the disk does not take it.
    """
    leaves = io.BytesIO()
    eqx.tree_serialise_leaves(leaves, jax.tree.map(lambda leaf: np.asarray(leaf, storage), model))
    header = {
        "format": FORMAT,
        "model": type(model).__name__,
        "sizes": hyperparameters(model),
        "storage": storage,
        **facts,
        "versions": {name: version(name) for name in ("jax", "equinox")},
    }
    header["sha256"] = _checksum(header, leaves.getvalue())
    try:
        with writing.beside(path) as part, open(part, "wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.write(leaves.getbuffer())
    except OSError as error:
        raise InputError(
            f"The model cannot be written to {path} ({paths.reason(error)}); what was there is untouched."
        ) from error


def model_file(path: Path) -> Path:
    """The file that `import_model` reads for `path`; raises InputError if there is none."""
    path = pretrained_models.resolve(paths.expanded(path))
    is_folder = paths.is_folder(path)
    file_path = path / "model.eqx" if is_folder else path
    if not paths.exists(file_path):
        what = f"{path} holds no model.eqx" if is_folder else f"There is no file {path}"
        raise InputError(f"{what}; give a model.eqx or a run directory that has one.")
    return file_path


def import_model(path: Path, *, compute: Compute | None = None) -> tuple[Any, dict[str, Any]]:
    """The model in the file `path` and its header; `path` may be a run directory with a `model.eqx`, or
    `pretrained:NAME` for a model that comes with the project. It computes as `compute` says; None suits the device.

    Reads numbers and never runs code from the file. Raises InputError if there is none, it is not one of ours, or it is
    damaged.
    """
    file_path = model_file(path)
    try:
        with open(file_path, "rb") as file:
            header = _read_header(file, file_path)
            leaves = file.read()
    except OSError as error:
        raise InputError(
            f"{file_path} cannot be read ({error.strerror}); give a model.eqx or a run directory."
        ) from error
    if _checksum(header, leaves) != header["sha256"]:
        raise InputError(f"{file_path} is damaged: its contents do not match its checksum; export or copy it again.")
    return _read_leaves(leaves, header, file_path, compute), header


def pretrained(name: str) -> Any:
    """The trained model called `name` that comes with the project, or, if there is none, `name`_small.

    Raises InputError, which lists the names, where there is neither, and for a damaged file.
    """
    model, _ = import_model(Path(f"{pretrained_models.PREFIX}{name}"))
    return model


def _checksum(header: dict[str, Any], leaves: bytes) -> str:
    """The SHA-256 of all that a file holds but itself."""
    facts = {name: value for name, value in header.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(facts).encode() + b"\n" + leaves).hexdigest()


def _read_leaves(leaves: bytes, header: dict[str, Any], path: Path, compute: Compute | None) -> Any:
    file, sizes = io.BytesIO(leaves), header["sizes"]
    network = str(sizes.get("update_network", "")) or "residual"
    if network not in update_networks.UPDATE_NETWORKS:
        known = ", ".join(update_networks.UPDATE_NETWORKS)
        raise InputError(
            f"{path} has the update network {network!r}, not one of {known}; if it is your own, register it first "
            "(vnca_jax.update_networks.register)."
        )
    key = jr.key(0)
    try:
        for size in sizes.values():
            if not isinstance(size, str | None) and not (isinstance(size, int | float) and size <= len(leaves)):
                raise ValueError("a size is no number and no name, or beyond what the file can hold")
        skeleton = eqx.filter_eval_shape(MODELS[header["model"]], **sizes, compute=compute, key=key)
        if header.get("storage", "float32") not in get_args(Storage):
            raise ValueError("the type of its numbers is not one of ours")
        stored = np.dtype(header.get("storage", "float32"))
        stored_skeleton = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, stored), skeleton)
        model = eqx.tree_deserialise_leaves(file, stored_skeleton)
        if file.read(1):
            raise ValueError("there is more in the file")
        model = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), model, skeleton)
    except Exception as error:  # of many types, from NumPy, Equinox and the model's own checks
        if isinstance(error, jax.errors.JaxRuntimeError):
            raise
        raise InputError(
            f"{path} does not hold a {header['model']} of the sizes that it names ({type(error).__name__}); export or "
            "copy it again."
        ) from error
    return model


def _read_header(file: BinaryIO, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(file.readline(1 << 16))
        known = header["format"] == FORMAT and isinstance(header["sizes"], dict) and isinstance(header["sha256"], str)
        known = known and isinstance(header["model"], str)
    except (ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known:
        raise InputError(f"{path} is not a model of this project; give a model.eqx that one of its runs wrote.")
    if header["model"] not in MODELS:
        raise InputError(f"{path} holds a {header['model']}, which this version does not know ({', '.join(MODELS)}).")
    return header
