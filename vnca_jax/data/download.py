"""Download of one file that is either complete and right, or not there."""

import hashlib
import http.client
import urllib.request
from pathlib import Path

from tqdm import tqdm

from vnca_jax import writing
from vnca_jax.errors import InputError

CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30


def download(url: str, target: Path, sha256: str) -> None:
    """Fetch `url` with a progress bar; `target` appears only when all bytes are there and their SHA-256 is right.

    Raises InputError that says why the file could not be fetched, or is not the one expected.
    """
    try:
        target.parent.stat()  # no folder is made for a download
        with writing.beside(target) as part:
            digest = _stream(url, part)
            if digest != sha256:
                raise InputError(f"{url} is not the file expected (its SHA-256 is {digest}, not {sha256})")
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{url} could not be downloaded to {target} ({error})") from error


def _stream(url: str, path: Path) -> str:
    """Write the bytes behind `url` to `path` and return their SHA-256; OSError where fewer come than announced."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, open(path, "wb") as file:
        announced = int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        name = url.rsplit("/", 1)[-1]
        with tqdm(total=announced, desc=name, unit="B", unit_scale=True, unit_divisor=1024) as progress:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                progress.update(len(chunk))
        if announced is not None and file.tell() != announced:
            raise ConnectionError(f"the connection broke off after {file.tell():,} of {announced:,} bytes")
    return digest.hexdigest()
