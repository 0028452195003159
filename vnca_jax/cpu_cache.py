"""The size of the CPU's cache, as Linux tells it."""

import functools
from pathlib import Path

FOLDER = Path("/sys/devices/system/cpu")
USUAL_BYTES = 1 << 20  # where the system does not tell
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@functools.cache
def second_level_bytes(folder: Path = FOLDER) -> int:
    """Bytes of the second level, which a core has for itself or shares with few: the smallest of all cores'.

    USUAL_BYTES where `folder` does not have them in Linux's layout.
    """
    sizes = []
    for level in folder.glob("cpu[0-9]*/cache/index[0-9]*/level"):
        try:
            if level.read_text().strip() == "2":
                size = level.with_name("size").read_text().strip()
                sizes.append(int(size.rstrip("KMG")) * UNITS.get(size[-1:], 1))
        except (OSError, ValueError):  # some virtual machines name a cache without its size
            continue
    return min((size for size in sizes if size > 0), default=USUAL_BYTES)
