"""The frame of a command that several processes may run: they come together, and end together."""

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator

import jax

from vnca_jax import backend, cluster, private_jax, processes
from vnca_jax.errors import STOPPED, InputError, Stopped, reported

START_SECONDS = 180  # for all processes to come
HEARTBEAT_SECONDS = 60  # of silence after which a process counts as gone
GOODBYE_SECONDS = 5  # for the others to hear why this process ends

GONE = (
    "another process of this run has ended or cannot be reached; start all processes again with the same command, and "
    "they resume from the newest checkpoint."
)
ABORTED = f"JAX has aborted this process, most likely because {GONE}"
LATE = (
    "the processes of this run have not come together within {} s; start all of them, with the same address and number "
    "of processes."
)

_together = threading.Event()  # once all processes have come
_ending = threading.Lock()  # held by the thread that ends the process


@contextlib.contextmanager
def joined(asked: bool) -> Iterator[None]:
    """Around all that a command does, before JAX's first computation: joins its processes, if there are several.

    In the block only the first process prints. If one process fails, all others end with its sentence; if one is gone,
    the others say so and end, at the latest after HEARTBEAT_SECONDS; if one does not come, after START_SECONDS. Then
    they end without Python's ordinary end of a process, which would wait for the others. Raises InputError as
    `cluster.settings` and `backend.check` do.
    """
    arguments = cluster.settings(asked)
    if arguments is None:
        backend.check()
        yield
        return
    _start(arguments)
    watcher = threading.Thread(target=_watch, name="watcher", daemon=True)
    watcher.start()
    try:
        backend.check()
        with contextlib.nullcontext() if processes.is_first() else _silent():
            yield
    except Stopped:
        _part(watcher)
        if not processes.is_first():
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
            heard = json.loads(private_jax.coordination_client().blocking_key_value_get("ended", processes.DAY))
            break
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                _end(GONE)
    if heard is not None:
        _end(heard["sentence"], heard["code"], heard=True)


def _part(watcher):
    """The good end: all processes wait for each other, however long the first one draws; then JAX takes leave."""
    try:
        processes.meet()
        if processes.is_first():
            private_jax.coordination_client().key_value_set("ended", "null")
        watcher.join()
        jax.distributed.shutdown()
    except jax.errors.JaxRuntimeError:
        _end(GONE)


def _fail(error):
    """Ends this process because of `error`, which is shown as `reported` does, and then the others."""
    if processes.is_loss(error):
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
            time.sleep(processes.is_first())  # so that the others are not aborted for want of it

    if last_words is not None:
        thread = threading.Thread(target=take_leave, daemon=True)
        thread.start()
        thread.join(2 * GOODBYE_SECONDS)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
