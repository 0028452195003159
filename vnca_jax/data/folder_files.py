"""Which files in your own folder are pictures, and which of its sub-folders split them.

Files count by their suffixes. Sub-folders called train and test, in any case, split the pictures; where there is a
sub-folder val too it belongs to the training pictures, as it does in the other datasets, and takes the place of test
where there is none.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from vnca_jax import paths

KINDS = "png apng jpg jpeg jpe jfif webp bmp dib gif tif tiff pbm pgm ppm pnm tga avif jp2 qoi ico pcx"
SUFFIXES = frozenset(f".{kind}" for kind in KINDS.split())
SIDES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SIDES |= {"test": "test", "testing": "test"}
NOT_ENTERED = ("@eadir", "#recycle", "__macosx")  # thumbnails, and what was thrown away, of network drives and Macs


class Found(NamedTuple):
    """The pictures to train on and to test on; all are in `train` where no sub-folders split them (`test` is None)."""

    train: list[Path]
    test: list[Path] | None
    train_folder: str
    """What the sub-folders of the training pictures are called."""
    test_folder: str
    others: str
    """How many files were left out for their suffix, in words; empty for none."""
    remarks: list[str]
    """What a user would want to know of all this, in sentences."""


def find(folder: Path) -> Found:
    """The pictures in `folder` and its sub-folders; InputError where one of them cannot be read."""
    found, suffixes = _files_in(folder)
    sides: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for name in paths.names_in(folder):
        if (side := SIDES.get(name.lower())) and paths.is_folder(folder / name):
            sides[side].append(name)
    others = _in_words(suffixes)
    remarks = [f"{others[0].upper()}{others[1:]} left out, since no picture has such a suffix."] if others else []
    test_names = sides["test"] or sides["val"]
    if not (sides["train"] and test_names):
        return Found([path for paths_inside in found.values() for path in paths_inside], None, "", "", others, remarks)
    train_names = sides["train"] + (sides["val"] if sides["test"] else [])
    train, test = ([path for name in names for path in found.get(name, ())] for names in (train_names, test_names))
    beside = sum(map(len, found.values())) - len(train) - len(test)
    if beside or (train_names, test_names) != (["train"], ["test"]):
        left_out = f"; {beside:,} beside these folders are left out" if beside else ""
        remarks.insert(0, f"training pictures are those in {_listed(train_names)}, test pictures those in "
                       f"{_listed(test_names)}{left_out}.")  # fmt: skip
    return Found(train, test, _listed(train_names), _listed(test_names), others, remarks)


def _files_in(folder: Path) -> tuple[dict[str, list[Path]], Counter[str]]:
    """The pictures, by the name of the sub-folder of `folder` that they are in, and the suffixes of all other files.

    Hidden ones are left out.
    """
    found: dict[str, list[Path]] = {}
    suffixes: Counter[str] = Counter()
    for inside, subfolders, names in paths.walk(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and name.lower() not in NOT_ENTERED]
        first = (*inside.relative_to(folder).parts, "")[0]
        for name in names:
            path = inside / name
            if name.startswith("."):
                continue
            if path.suffix.lower() in SUFFIXES:
                found.setdefault(first, []).append(path)
            else:
                suffixes[path.suffix.lower() or "no suffix"] += 1
    return found, suffixes


def _in_words(suffixes: Counter[str]) -> str:
    count = suffixes.total()
    return f"{count:,} other file{'s' if count != 1 else ''} ({', '.join(sorted(suffixes))})" if count else ""


def _listed(names: list[str]) -> str:
    return " and ".join(names)
