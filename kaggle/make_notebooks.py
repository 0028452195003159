"""Makes train.ipynb, evaluate.ipynb and explore.ipynb from their py:percent sources: `make notebooks`."""

from pathlib import Path

import jupytext
import nbformat

SOURCES = [Path(__file__).parent / name / f"{name}.py" for name in ("train", "evaluate", "explore")]


def notebook(source: Path) -> str:
    """The notebook that jupytext makes of `source`, its cells numbered so that the same text gives the same file."""
    made = jupytext.read(source)
    made.metadata["language_info"] = {"name": "python"}
    for i, cell in enumerate(made.cells):
        cell["id"] = f"cell-{i}"
    return nbformat.writes(made) + "\n"


if __name__ == "__main__":
    for source in SOURCES:
        source.with_suffix(".ipynb").write_text(notebook(source))
