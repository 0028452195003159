"""A cache whose one file is torn."""

from collections.abc import Callable
from pathlib import Path


def tear_cache(folder: Path, tear: Callable[[bytes], bytes]) -> tuple[Path, bytes]:
    """The file of the cache, which now holds what `tear` makes of its bytes, and the bytes that it held."""
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(tear(whole))
    return path, whole
