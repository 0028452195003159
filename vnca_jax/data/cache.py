"""Cache files that are either as they were written or not there: the SHA-256 of the rest, a mark, the content."""

import hashlib
import logging
from pathlib import Path

from vnca_jax import writing

logger = logging.getLogger(__name__)

DIGEST_BYTES = hashlib.sha256().digest_size


def read(path: Path, mark: bytes) -> bytes | None:
    """What `write` wrote under the same mark; None where there is nothing, or not all of it as it was written."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    digest, body = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest or not body.startswith(mark):
        logger.info("The cache %s is damaged and will be made again.", path)
        return None
    return body[len(mark) :]


def write(path: Path, mark: bytes, content: bytes) -> None:
    """Write the file whole; a folder that cannot be written is left without a cache."""
    body = mark + content
    try:
        with writing.beside(path) as part:
            part.write_bytes(hashlib.sha256(body).digest() + body)
    except OSError as error:
        logger.info("The cache %s cannot be written: %s", path, error)
