"""The Python blocks of the README and of the documentation run; those of the tutorial do in test_tutorial.py."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vnca_jax import metrics

ROOT = Path(__file__).parent.parent


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


def run(page: str) -> dict[str, Any]:
    """The names that the blocks of a page leave, run in order in the working folder."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in python_blocks(ROOT / page):
        exec(compile(block, page, "exec"), names)
    return names


def test_every_page_with_python_is_run():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md"), ROOT / "CONTRIBUTING.md"]
    with_python = {path.relative_to(ROOT).as_posix() for path in pages if python_blocks(path)}
    assert with_python == {"README.md", "docs/tutorial.md", "docs/library.md"}


@pytest.mark.slow
def test_the_ten_lines_of_the_readme(tmp_path, monkeypatch):
    """They are at most ten, beside imports; they draw three rows of eight, and two thirds of what the damage took are
    back on average, and some in each sample.
    """
    monkeypatch.chdir(tmp_path)
    [block] = python_blocks(ROOT / "README.md")
    assert len([line for line in block.splitlines() if line and not line.startswith(("import", "from"))]) <= 10
    left = run("README.md")
    grown, damaged, healed = (np.asarray(means) for means in left["means"])
    assert grown.shape == (8, 28, 28, 1)
    np.testing.assert_array_equal(damaged[:, :, :14], grown[:, :, :14])
    np.testing.assert_array_equal(damaged[:, :, 14:], np.float32(0.5))  # E[x] of a logit of zero
    taken, missing = (np.abs(images - grown).mean(axis=(1, 2, 3)) for images in (damaged, healed))
    assert missing.mean() < taken.mean() / 3 and (missing < taken).all()
    with Image.open(tmp_path / "healed.png") as picture:
        assert picture.width > 2 * picture.height and len(np.unique(np.asarray(picture.convert("L")))) > 100


@pytest.mark.slow
def test_the_library(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = run("docs/library.md")
    terms = left["terms"]
    np.testing.assert_allclose(terms.elbo, terms.log_px_given_z - terms.kl, rtol=1e-6)
    assert [len(stage) for stage in left["stages"]] == [5] * 5  # a seed or doubled cells, then four steps
    assert int(left["state"].step) == 4
    np.testing.assert_array_equal(metrics.read(tmp_path / "runs/mine/metrics.jsonl")["step"], [1, 2, 3, 4])
