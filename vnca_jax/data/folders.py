"""Where files are looked for ($VNCA_DATA_DIR, all that is attached under /kaggle/input) and kept (the cache)."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vnca_jax import paths

KAGGLE_INPUT = Path("/kaggle/input")
KAGGLE_DEPTH = 5  # /kaggle/input/datasets/<user>/<name>/<folder>/binarized_mnist


def named_folders() -> list[Path]:
    """The folder that $VNCA_DATA_DIR names, if it does."""
    named = os.environ.get("VNCA_DATA_DIR")
    return [paths.expanded(named)] if named else []


def kaggle_folders() -> Iterator[Path]:
    """Every folder under /kaggle/input, down to a depth that loops cannot exceed."""
    for folder, subfolders, _ in os.walk(KAGGLE_INPUT, followlinks=True):
        yield Path(folder)
        subfolders.sort()
        if len(Path(folder).relative_to(KAGGLE_INPUT).parts) == KAGGLE_DEPTH:
            subfolders.clear()


def cache_folder(cache_dir: Path | None) -> Path:
    """`cache_dir`, else $VNCA_CACHE_DIR, else ~/.cache/vnca_jax, else, without a home, a temporary folder of the user.

    Programs are not kept in the last of these, which others might fill (`own_cache_folder`).
    """
    return own_cache_folder(cache_dir) or Path(
        tempfile.gettempdir(), f"vnca_jax-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    )


def own_cache_folder(cache_dir: Path | None = None) -> Path | None:
    """As `cache_folder`, but None where nothing is named and there is no home folder."""
    if named := cache_dir or os.environ.get("VNCA_CACHE_DIR"):
        return paths.expanded(named)
    try:
        return Path.home() / ".cache" / "vnca_jax"
    except RuntimeError:
        return None


def is_writable(folder: Path) -> bool:
    """Whether files can be made in `folder`, which is created if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return paths.allows(folder, os.W_OK | os.X_OK)
