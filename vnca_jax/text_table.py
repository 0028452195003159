"""Tables of text in aligned columns."""

from collections.abc import Sequence


def aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell: words stand to the left, numbers to the right."""
    by_column = list(zip(columns, *rows, strict=True))
    sides = ["<" if any(cell[:1].isalpha() for cell in cells[1:]) else ">" for cells in by_column]
    widths = [max(map(len, cells)) for cells in by_column]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    )
