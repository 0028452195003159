"""`python -m vnca_jax` lists the commands of the project, each with what it does."""

import ast
import shutil
import sys
import textwrap
from pathlib import Path

from vnca_jax.errors import InputError, reported

PACKAGE = Path(__file__).parent
HOW = "Each shows its flags, with their defaults, with --help. A first one, of minutes: "
FIRST = "python -m experiments.mnist_doubling --preset cpu"
NARROWEST, WIDEST = 60, 120  # columns of text


def commands(folder: Path) -> dict[str, str]:
    """The modules in `folder` that are commands, and what each does: the first paragraph of its docstring.

    A command has a `__main__` block and says in its docstring how it is started. Runs none of them.
    """
    found = {}
    for path in sorted(folder.glob("*.py")):
        source, name = path.read_text(), f"{folder.name}.{path.stem}"
        docstring = ast.get_docstring(ast.parse(source)) or ""
        if '\nif __name__ == "__main__":' in source and f"python -m {name}" in docstring:
            sentence, own_command, _ = " ".join(docstring.partition("\n\n")[0].split()).partition(": `python -m")
            found[name] = sentence + "." if own_command else sentence
    return found


def overview(root: Path, columns: int) -> str:
    """All commands of the packages in `root`, in lines of about so many columns; says so where some are missing."""
    own, experiments, benchmarks = (commands(root / name) for name in (PACKAGE.name, "experiments", "benchmarks"))
    width = max(map(len, (*own, *experiments, *benchmarks)))
    columns = max(NARROWEST, min(columns, WIDEST))

    def table(rows: dict[str, str]) -> list[str]:
        return [
            textwrap.fill(text, columns, initial_indent=f"  {name:<{width}}  ", subsequent_indent=" " * (width + 4))
            for name, text in rows.items()
        ]

    lines = ["Commands; start one with `python -m` and its name.", ""]
    lines += ["A trained model:", *table(own), ""]
    if experiments:
        lines += ["Experiments:", *table(experiments), ""]
        lines += [textwrap.fill(HOW, columns), f"  {FIRST}"]
    else:
        missing = (
            f"The experiments are not installed beside the package ({root}): clone the project for them. The models "
            "can be trained without, as a library; each command shows its flags with --help."
        )
        lines += [textwrap.fill(missing, columns)]
    if benchmarks:
        lines += ["", "Benchmarks:", *table(benchmarks)]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Prints the overview; raises InputError for arguments, which it takes none of."""
    if others := [argument for argument in arguments if argument not in ("-h", "--help")]:
        raise InputError(
            f"python -m vnca_jax was given {others[0]!r}, but only lists the commands; start one by its own name, such "
            f"as {FIRST}"
        )
    print(overview(PACKAGE.parent, shutil.get_terminal_size().columns))


if __name__ == "__main__":
    with reported():
        main(sys.argv[1:])
