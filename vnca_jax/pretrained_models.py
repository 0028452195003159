"""The trained models that come with the project: `pretrained/NAME/model.eqx`, each with the results.json of its run.

`pretrained/checksums.json` has the SHA-256 of every file. In a clone the folder lies beside the package, and where the
package has been installed within it.
"""

import hashlib
import json
from pathlib import Path

from vnca_jax.errors import InputError, did_you_mean

PREFIX = "pretrained:"
SMALL = "_small"  # at the end of the name of a model that is smaller than the paper's
INSTALLED, CLONED = Path(__file__).parent / "pretrained", Path(__file__).parent.parent / "pretrained"
FOLDER = INSTALLED if INSTALLED.is_dir() else CLONED


def names() -> list[str]:
    """The models that there are."""
    return sorted(path.parent.name for path in FOLDER.glob("*/model.eqx"))


def resolve(path: Path) -> Path:
    """`path` as it is, or for `pretrained:NAME` the file of that model, whose SHA-256 has been checked.

    Where there is no NAME, NAME_small stands in for it. Raises InputError for an unknown name or a damaged file.
    """
    if not str(path).startswith(PREFIX):
        return path
    name = str(path).removeprefix(PREFIX)
    known = names()
    if not known:
        raise InputError(f"This installation has no folder {FOLDER}: install it again, or clone it.")
    chosen = name if name in known else name + SMALL
    if chosen not in known:
        raise InputError(f"There is no pretrained model {name!r}, only {', '.join(known)}{did_you_mean(name, known)}")
    file = FOLDER / chosen / "model.eqx"
    expected = json.loads((FOLDER / "checksums.json").read_text()).get(f"{chosen}/model.eqx")
    if hashlib.sha256(file.read_bytes()).hexdigest() != expected:
        raise InputError(f"{file} is not the file that the project ships (its SHA-256 differs): restore it.")
    return file
