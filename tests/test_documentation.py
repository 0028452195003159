"""What the documents say is so: every command line parses, every link leads somewhere, every command is named."""

import ast
import contextlib
import dataclasses
import importlib
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tyro

import vnca_jax
from vnca_jax import __main__ as overview
from vnca_jax import data, pretrained_models
from vnca_jax.errors import InputError

ROOT = Path(__file__).parent.parent
PACKAGES = ("vnca_jax", "experiments", "benchmarks")
SITE = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "kaggle" / "README.md", *SITE]
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).glob("*.py"))]
DOCUMENTS = [*PAGES, *(path for path in SOURCES if "python -m" in path.read_text())]
COMMANDS = {name for package in PACKAGES for name in overview.commands(ROOT / package)}

# A command in `backticks` may go on in the next line; elsewhere a comment, a quote, & or two spaces end it.
COMMAND = re.compile(r"(?<=`)(python -m [^`]+)`|(?<!`)(python -m [^\s#&`\"]+(?: [^\s#&`\"]+)*)")
AS_IN_CLI = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
# Pages that are the beginning, or that include a file which the README links to.
NOT_IN_README = {"index.md", "kaggle.md", "browser.md", "contributing.md", "changelog.md"}
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")


def text_of(path: Path) -> str:
    """A page, or the docstring of a module."""
    return path.read_text() if path.suffix == ".md" else ast.get_docstring(ast.parse(path.read_text())) or ""


def commands_in(text: str) -> Iterator[str]:
    """The commands of this project that `text` shows, each in one line."""
    for quoted, plain in COMMAND.findall(text):
        command = " ".join((quoted or plain).split())
        if command.split()[2].split(".")[0].rstrip(".,;:") in PACKAGES:
            yield command


def what_is_wrong_with(command: str) -> str | None:
    """A sentence if the command line would be refused: an unknown module, flag, value or name."""
    _, _, module, *arguments = shlex.split(command)
    if module not in COMMANDS:
        return None if command == "python -m vnca_jax" else f"there is no command {module}"
    if not arguments or arguments == ["--help"]:
        return None
    if module.startswith("benchmarks."):  # they need torch
        return what_is_wrong_with_flags(arguments, options_in_source(ROOT / f"{module.replace('.', '/')}.py"))
    imported = importlib.import_module(module)
    kind, options = getattr(imported, "Options", None), {}
    if kind is None:
        default = imported.PRESETS.get(value_of("--preset", arguments), imported.PRESETS["cpu"])
        kind, options = type(default), {"default": default}
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            tyro.cli(kind, args=arguments, **options, config=AS_IN_CLI)
        except (SystemExit, InputError) as error:
            return " ".join(f"{error} {said.getvalue()}".split())
    return what_is_wrong_with_names(arguments)


def what_is_wrong_with_flags(arguments: list[str], known: set[str]) -> str | None:
    unknown = [argument for argument in arguments if argument.startswith("--") and argument not in known]
    return f"there is no flag {unknown[0]}" if unknown else None


def what_is_wrong_with_names(arguments: list[str]) -> str | None:
    """Values that the parser takes as any text, and that name something of the project."""
    dataset, ckpt = value_of("--dataset", arguments), value_of("--ckpt", arguments)
    if dataset and dataset not in data.DATASETS:
        return f"there is no dataset {dataset}"
    if (
        ckpt
        and ckpt.startswith(pretrained_models.PREFIX)
        and ckpt.removeprefix(pretrained_models.PREFIX) not in pretrained_models.names()
    ):
        return f"there is no model {ckpt}"
    return None


def value_of(flag: str, arguments: list[str]) -> str | None:
    return arguments[arguments.index(flag) + 1] if flag in arguments[:-1] else None


def options_in_source(path: Path, name: str = "Options") -> set[str]:
    """The flags of a module, from the fields of its class `name` and of its base classes in modules beside it."""
    [options] = [
        node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and node.name == name
    ]
    found = set()
    for base in options.bases:
        module, _, inherited = ast.unparse(base).rpartition(".")
        found |= options_in_source(path.with_name(f"{module}.py") if module else path, inherited)
    names = [
        node.target.id for node in options.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    return found | {f"--{name.replace('_', '-')}" for name in names}


def all_flags() -> set[str]:
    """The flags of all commands."""
    found = {"--help"}
    for module in COMMANDS:
        if module.startswith("benchmarks."):
            found |= options_in_source(ROOT / f"{module.replace('.', '/')}.py")
        else:
            imported = importlib.import_module(module)
            found |= leaves_of(imported.PRESETS["cpu"] if hasattr(imported, "PRESETS") else imported.Options)
    return found


def leaves_of(options: Any) -> set[str]:
    """The flags of a dataclass whose fields may be dataclasses."""
    found = set()
    for field in dataclasses.fields(options):
        value = getattr(options, field.name, None)
        found |= leaves_of(value) if dataclasses.is_dataclass(value) else {f"--{field.name.replace('_', '-')}"}
    return found


def broken_links(path: Path, text: str) -> list[str]:
    targets = [markdown or html for markdown, html in LINK.findall(text)]
    files = [target.partition("#")[0] for target in targets if not target.startswith(("http://", "https://", "#"))]
    return [file for file in files if not (path.parent / file).exists()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_would_be_taken(path):
    wrong = {command: what_is_wrong_with(command) for command in commands_in(text_of(path))}
    assert {command: sentence for command, sentence in wrong.items() if sentence} == {}


def test_every_command_is_found():
    """So that the test above cannot pass by overlooking them."""
    counts = {str(path.relative_to(ROOT)): len(list(commands_in(text_of(path)))) for path in DOCUMENTS}
    for path in PAGES:
        own = [name for package in PACKAGES for name in re.findall(rf"python\s+-m\s+{package}\b", path.read_text())]
        assert counts[str(path.relative_to(ROOT))] == len(own)
    assert counts["README.md"] > 10 and counts["docs/commands.md"] > 20 and counts["docs/tutorial.md"] > 6
    assert counts["docs/results.md"] > 5 and counts["experiments/mnist_doubling.py"] == 2


def test_every_flag_in_backticks_is_one():
    known = all_flags()
    for path in PAGES:
        found = re.findall(r"`(--[^`]+)`", path.read_text())
        assert [quoted for quoted in found if what_is_wrong_with_flags(quoted.split(), known)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    assert broken_links(path, path.read_text()) == []


def test_the_readme_is_one_page():
    """At most 150 lines, which begin with the picture, in the order in which one needs them."""
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 150
    picture, pitch, status = (text.index(found) for found in ("<img", "*variational neural", "<!-- status -->"))
    assert picture < pitch < status < text.index("\n## ")
    headings = ["Install", "Ten lines", "Commands", "Folders", "Documentation", "Cite"]
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == headings
    assert f"version = {{{vnca_jax.__version__}}}" in text and text.endswith("MIT licence.\n")
    linked = {Path(link[0]).name for link in LINK.findall(text)}
    assert {path.name for path in SITE if path.parent.name == "docs"} <= linked | NOT_IN_README


def test_every_experiment_is_named():
    starts = '\nif __name__ == "__main__":'
    modules = {f"experiments.{path.stem}" for path in (ROOT / "experiments").glob("*.py") if starts in path.read_text()}
    assert len(modules) > 10
    page = (ROOT / "docs" / "commands.md").read_text()
    listed = overview.overview(ROOT, 120)
    for module in modules:
        assert f"python -m {module} " in page.replace("`", " "), module
        assert f"\n  {module} " in listed, module


def targets_and_extras(text: str) -> tuple[set[str], set[str]]:
    """The targets of `make` and the extras of `pip install '.[...]'` that a page names in its code."""
    blocks = "".join(re.findall(r"^```sh$(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    made = re.findall(r"`make ([a-z][a-z-]*)|^    make ([a-z][a-z-]*)", text, re.MULTILINE)
    made += [(target, "") for target in re.findall(r"^make ([a-z][a-z-]*)", blocks, re.MULTILINE)]
    return {quoted or plain for quoted, plain in made}, {
        extra for found in re.findall(r"\.\[([\w,-]+)\]", text) for extra in found.split(",")
    }


@pytest.mark.parametrize("path", [*PAGES, ROOT / "web" / "README.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_target_and_extra_is_there(path):
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    made, brought = targets_and_extras(path.read_text())
    assert made <= targets and brought <= set(extras)


# What the checks catch


def test_targets_and_extras():
    text = "Do `make demo`,\nmake no noise.\n\n    make test-slow # or not\n\n`pip install '.[dev,tpu]'`\n"
    text += "```sh\nmake web\n```\n"
    assert targets_and_extras(text) == ({"demo", "test-slow", "web"}, {"dev", "tpu"})


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("python -m experiments.mnist_doubling --preset paper --pool-size 8", "--pool-size"),  # of another experiment
        ("python -m experiments.mnist_doubling --preset papr", "papr"),
        ("python -m experiments.mnist_doubling --num-updates many", "many"),
        ("python -m experiments.mnist_doubling --num-updates 3 --cooldown-updates 9", "must be from 0 to"),
        ("python -m experiments.mnist_doubling --dataset mnist", "there is no dataset mnist"),
        ("python -m experiments.mnist_doublings", "there is no command experiments.mnist_doublings"),
        ("python -m experiments.doubling --preset cpu", "there is no command experiments.doubling"),
        ("python -m vnca_jax.eval --limit 3", "--ckpt"),
        ("python -m vnca_jax.eval --ckpt pretrained:none", "there is no model pretrained:none"),
        ("python -m benchmarks.iwelbo --jsn FILE", "there is no flag --jsn"),
        ("python -m vnca_jax --preset cpu", "there is no command vnca_jax"),
    ],
)
def test_wrong_commands(command, sentence):
    assert sentence in (what_is_wrong_with(command) or "")
    for text in (
        f"    {command}    # what it does",
        f"as `{command.replace(' --', chr(10) + '--')}`.",
        f"{command}\nnext",
    ):
        assert list(commands_in(text)) == [command]


def test_right_commands():
    for line in (
        "python -m vnca_jax",
        "python -m vnca_jax.eval",
        "python -m vnca_jax.eval --ckpt pretrained:mnist_doubling_small --limit 100",
        "python -m experiments.celeba_doubling --preset paper --dataset folder --data-dir DIR --beta 2",
        "python -m experiments.linear_probe --preset paper --ckpt RUN",
        "python -m benchmarks.iwelbo --json FILE",
    ):
        assert what_is_wrong_with(line) is None
    assert list(commands_in("python -m pytest, `python -m venv x`")) == []


def test_broken_links():
    page = 'a [b](README.md#use) [c](nowhere.md) <img src="docs/growth.png"> <img src="no.png"> [d](https://x.org/y)'
    assert broken_links(ROOT / "README.md", page) == ["nowhere.md", "no.png"]
