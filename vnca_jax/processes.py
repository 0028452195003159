"""Several processes of one run, on one host or many: how they find each other, agree, and end together.

Here go decisions and sentences, through the key-value store of JAX's coordination service, which the first process
hosts: unlike a collective they do not queue behind the updates that the devices are working on. Arrays: `parallel`.
"""

import contextlib
import ctypes
import itertools
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Iterator
from typing import Any, TypeVar

import jax

from vnca_jax import backend, private_jax
from vnca_jax.errors import STOPPED, InputError, Stopped, reported

START_SECONDS = 180  # for all processes to come
HEARTBEAT_SECONDS = 60  # of silence after which a process counts as gone
GOODBYE_SECONDS = 5  # for the others to hear why this process ends
DAY = 86_400_000  # milliseconds; who waits so long is ended by the heartbeats if the others are gone
KEPT = 1000  # agreements; nobody is so far behind the first process

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
METADATA = "http://{}/computeMetadata/v1/instance/attributes/worker-network-endpoints"
GONE = (
    "another process of this run has ended or cannot be reached; start all processes again with the same command, and "
    "they go on from the newest checkpoint."
)
ABORTED = f"JAX has aborted this process, most likely because {GONE}"
LATE = (
    "the processes of this run have not come together within {} s; start all of them, with the same address and number "
    "of processes."
)
SIGNS_OF_LOSS = re.compile("gloo|nccl|unavailable|connection|heartbeat|coordination|barrier", re.IGNORECASE)

T = TypeVar("T")
_numbers = itertools.count()
_together = threading.Event()  # once all processes have come
_ending = threading.Lock()  # held by the thread that ends the process


def settings(asked: bool) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` is told: nothing where JAX knows by itself; None means a single process.

    Several processes are joined if `asked` for, or if SLURM has started them or a TPU slice has several hosts. Raises
    InputError if they are asked for where neither SLURM, nor a TPU, nor the environment tells of them.
    """
    values = [os.environ.get(name, "") for name in VARIABLES]
    if asked and all(values):
        address, count, number = values
        if not (re.fullmatch(r".+:\d+", address) and count.isdigit() and number.isdigit() and int(number) < int(count)):
            raise InputError(
                f"The environment says {_said(values)}, but must name a host and port, a number of processes, and this "
                "one's number, from 0 up to one less."
            )
        explicit = {"coordinator_address": address, "num_processes": int(count), "process_id": int(number)}
        return {**explicit, "cluster_detection_method": "deactivate"}
    size = _cluster_size()
    if size is not None and (asked or size > 1):
        return {}
    if asked:
        raise InputError(
            f"`distributed` needs {', '.join(VARIABLES[:2])} and {VARIABLES[2]} in the environment, because neither "
            "SLURM nor a TPU tells of several processes here: set them to host:port of the first process, to how many "
            "processes there are, and to this one's number from 0."
        )
    return None


def _said(values):
    return ", ".join(f"{name}={value}" for name, value in zip(VARIABLES, values, strict=True))


def _cluster_size() -> int | None:
    """How many processes SLURM has started, or hosts there are in a TPU slice; None where neither is there."""
    if (tasks := private_jax.num_slurm_tasks()) is not None:
        return tasks
    if not private_jax.is_on_cloud_tpu():
        return None
    hosts = os.environ.get("TPU_PROCESS_ADDRESSES") or os.environ.get("TPU_WORKER_HOSTNAMES")
    if hosts is None and "TPU_SKIP_MDS_QUERY" not in os.environ:
        address = METADATA.format(os.environ.get("GCE_METADATA_IP", "metadata.google.internal"))
        request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=3) as answer:
            hosts = answer.read().decode()
    return len(hosts.split(",")) * int(os.environ.get("MEGASCALE_NUM_SLICES") or 1) if hosts else None


@contextlib.contextmanager
def joined(asked: bool) -> Iterator[None]:
    """Around all that a command does, before JAX's first computation: joins its processes, if there are several.

    In the block only the first process prints. If one process fails, all others end with its sentence; if one is gone,
    the others say so and end, at the latest after HEARTBEAT_SECONDS; if one does not come, after START_SECONDS. Then
    they end without Python's ordinary end of a process, which would wait for the others. Raises InputError as
    `settings` and `backend.check` do.
    """
    arguments = settings(asked)
    if arguments is None:
        backend.check()
        yield
        return
    _start(arguments)
    watcher = threading.Thread(target=_watch, name="watcher", daemon=True)
    watcher.start()
    try:
        backend.check()
        with contextlib.nullcontext() if is_first() else _silent():
            yield
    except Stopped:
        _part(watcher)
        if not is_first():
            raise SystemExit(STOPPED) from None
        raise
    except BaseException as error:
        _fail(error)
    else:
        _part(watcher)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing goes to standard output, from libraries in other languages either."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def is_first() -> bool:
    """Whether this is the process that writes, prints and decides; in a single process, yes."""
    return jax.process_index() == 0


def agree(value: T) -> T:
    """The first process's `value`, of JSON, in all processes, which must call this equally often."""
    if jax.process_count() == 1:
        return value
    number = next(_numbers)
    if is_first():
        private_jax.coordination_client().key_value_set(f"agreed/{number}", json.dumps(value))
        private_jax.coordination_client().key_value_delete(f"agreed/{number - KEPT}")
        return value
    return json.loads(private_jax.coordination_client().blocking_key_value_get(f"agreed/{number}", DAY))


def meet() -> None:
    """Waits until all processes have called this."""
    if jax.process_count() > 1:
        private_jax.coordination_client().wait_at_barrier(f"meeting/{next(_numbers)}", DAY)


def anywhere(flag: bool) -> bool:
    """`flag`; in the first process also whether it has been true in any other one that called this."""
    if jax.process_count() > 1 and is_first():
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # there is no such key
            private_jax.coordination_client().key_value_try_get("flag")
            return True
    elif flag and jax.process_count() > 1:
        private_jax.coordination_client().key_value_set("flag", "", allow_overwrite=True)
    return flag


def is_loss(error: BaseException | None) -> bool:
    """Whether `error`, or what is behind it, says that another process is gone."""
    while error is not None and jax.process_count() > 1:
        if isinstance(error, jax.errors.JaxRuntimeError) and SIGNS_OF_LOSS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


# --- the beginning ----------------------------------------------------------------------------------------------------


def _start(arguments):
    handle = ctypes.CDLL(None).signal
    handle.argtypes, handle.restype = (ctypes.c_int, _Handler), ctypes.c_void_p
    handle(signal.SIGABRT, _on_abort)
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from training
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=START_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        _end(LATE.format(START_SECONDS))
    _together.set()


_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int)


@_Handler
def _on_abort(_number):
    """JAX aborts a process, from a thread of its own, when its coordination service cannot be reached or reports that
    another process is gone; Python's own handlers never run then, this one does.
    """
    _end(ABORTED if _together.is_set() else LATE.format(START_SECONDS))


# --- the end ----------------------------------------------------------------------------------------------------------


def _watch():
    """Ends this process when another one has said why it ends."""
    while True:
        try:
            heard = json.loads(private_jax.coordination_client().blocking_key_value_get("ended", DAY))
            break
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                _end(GONE)
    if heard is not None:
        _end(heard["sentence"], heard["code"], heard=True)


def _part(watcher):
    """The good end: all processes wait for each other, however long the first one draws; then JAX takes leave."""
    try:
        meet()
        if is_first():
            private_jax.coordination_client().key_value_set("ended", "null")
        watcher.join()
        jax.distributed.shutdown()
    except jax.errors.JaxRuntimeError:
        _end(GONE)


def _fail(error):
    """Ends this process because of `error`, which is shown as `reported` does, and then the others."""
    if is_loss(error):
        _end(GONE)
    _ending.acquire()
    code = 1
    try:
        with reported():
            raise error
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    said = str(error) if isinstance(error, InputError | FloatingPointError) else repr(error)
    sentence = f"process {jax.process_index()} of this run has ended: {said}"
    _leave(code, {"sentence": sentence, "code": code})


def _end(sentence, code=1, *, heard=False):
    """Ends this process with a sentence, unless another of its threads is about to."""
    if not _ending.acquire(blocking=False):
        time.sleep(2 * GOODBYE_SECONDS)
    os.write(2, f"\nerror: {sentence}\n".encode(errors="backslashreplace"))
    _leave(code, {} if heard else None)


def _leave(code, last_words=None):
    """Ends this process at once, after it has told the others its last words, or heard those of another."""

    def take_leave():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            if last_words:
                private_jax.coordination_client().key_value_set("ended", json.dumps(last_words))
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            private_jax.coordination_client().wait_at_barrier("ended", 1000 * GOODBYE_SECONDS)
            time.sleep(is_first())  # so that the others are not aborted for want of it

    if last_words is not None:
        thread = threading.Thread(target=take_leave, daemon=True)
        thread.start()
        thread.join(2 * GOODBYE_SECONDS)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code)
