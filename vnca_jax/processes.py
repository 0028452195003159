"""What several processes of one run say to each other, on one host or many; in a single process all of it is trivial.

Here go decisions, through the key-value store of JAX's coordination service, which the first process hosts: unlike a
collective they do not queue behind the updates that the devices are working on. Arrays: `parallel`.
"""

import contextlib
import itertools
import json
import re
from typing import TypeVar

import jax

from vnca_jax import private_jax

DAY = 86_400_000  # milliseconds; who waits so long is ended by the heartbeats if the others are gone
KEPT = 1000  # agreements; nobody is so far behind the first process
SIGNS_OF_LOSS = re.compile("gloo|nccl|unavailable|connection|heartbeat|coordination|barrier", re.IGNORECASE)

T = TypeVar("T")
_numbers = itertools.count()


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
