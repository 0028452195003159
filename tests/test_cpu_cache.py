"""The cache's size, read from a folder in the layout of Linux."""

import pytest

from vnca_jax import cpu_cache


def make(folder, caches):
    """`caches` has, for each core, (level, type, size) of each cache; a size of None has no file."""
    for core, indices in enumerate(caches):
        for index, (level, kind, size) in enumerate(indices):
            place = folder / f"cpu{core}" / "cache" / f"index{index}"
            place.mkdir(parents=True)
            (place / "level").write_text(f"{level}\n")
            (place / "type").write_text(f"{kind}\n")
            if size is not None:
                (place / "size").write_text(f"{size}\n")
    (folder / "cpufreq").mkdir()


FIRST = [(1, "Data", "32K"), (1, "Instruction", "32K")]


@pytest.mark.parametrize(
    ("caches", "expected"),
    [
        ([[*FIRST, (2, "Unified", "1024K"), (3, "Unified", "32768K")]], 1 << 20),
        ([[*FIRST, (2, "Unified", "2M")], [*FIRST, (2, "Unified", "512K")]], 1 << 19),  # large and small cores
        ([[*FIRST, (2, "Unified", "524288")]], 1 << 19),
        ([FIRST], cpu_cache.USUAL_BYTES),
        ([[*FIRST, (2, "Unified", None)]], cpu_cache.USUAL_BYTES),
        ([[*FIRST, (2, "Unified", "unknown")]], cpu_cache.USUAL_BYTES),
        ([[*FIRST, (2, "Unified", "0K")]], cpu_cache.USUAL_BYTES),
        ([], cpu_cache.USUAL_BYTES),
    ],
)
def test_second_level(caches, expected, tmp_path):
    make(tmp_path, caches)
    assert cpu_cache.second_level_bytes(tmp_path) == expected


def test_this_machine():
    assert 1 << 16 <= cpu_cache.second_level_bytes() <= 1 << 28
    assert cpu_cache.second_level_bytes(cpu_cache.FOLDER / "nothing") == cpu_cache.USUAL_BYTES
