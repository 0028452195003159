"""`python -m vnca_jax` lists the commands that are there, each with what it does; `vnca eval` starts one."""

import ast
import importlib
import shutil
import sys
import textwrap
from pathlib import Path

from vnca_jax.errors import InputError, did_you_mean, reported

# What `vnca NAME` starts: the function `command` of a module, with the words that start it and the flags.
COMMANDS = {"eval": "vnca_jax.eval", "export": "vnca_jax.onnx"}
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
    own |= {module: f"{own[module]} Also `vnca {name}`." for name, module in COMMANDS.items() if module in own}
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
            f"The experiments are not beside the package ({root}): they run in a clone of the project. The models "
            "can be trained without, as a library; each command shows its flags with --help."
        )
        lines += [textwrap.fill(missing, columns)]
    if benchmarks:
        lines += ["", "Benchmarks:", *table(benchmarks)]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Starts the command that the first argument names; prints the overview without one. InputError for another."""
    if arguments and (module := COMMANDS.get(arguments[0])):
        importlib.import_module(module).command(f"vnca {arguments[0]}", arguments[1:])
        return
    if others := [argument for argument in arguments if argument not in ("-h", "--help")]:
        raise InputError(
            f"vnca was given {others[0]!r}, but knows {' and '.join(COMMANDS)} alone; `vnca --help` lists what there "
            f"is{did_you_mean(others[0], COMMANDS)}"
        )
    print(overview(PACKAGE.parent, shutil.get_terminal_size().columns))


def command() -> None:
    """The command `vnca`."""
    with reported():
        main(sys.argv[1:])


if __name__ == "__main__":
    command()
