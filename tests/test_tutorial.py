"""Every block of docs/tutorial.md runs, in order and in one folder, and gives the numbers that the page shows."""

import contextlib
import io
import itertools
import json
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
import tiny_binarized_mnist
from PIL import Image

from vnca_jax import update_networks
from vnca_jax.checkpoint import import_model

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
pytestmark = pytest.mark.long

# What is run in place of a command, and what is appended to an experiment's, so that the page takes seconds.
IN_PLACE = {"make demo": "python -m experiments.mnist_doubling --preset cpu"}
TINY = "--num-updates 4 --cooldown-updates 0 --limit 6 --num-samples 4 --encoder-depth 0 --hidden-size 4 --num-blocks 0"
SMALLER = {
    "python -m experiments.mnist_doubling --preset cpu": TINY,
    "python -m experiments.mnist_doubling --dataset folder_binary": f"{TINY} --num-doublings 1",
    "python -m experiments.celeba_doubling --dataset folder": f"{TINY} --num-doublings 1",
    "python -m experiments.mnist_nondoubling": f"{TINY} --num-states 6 --stability-steps 16 --step-counts 2 "
    "--step-count-images 4 --step-count-samples 2 --pool-size 64",
    "python -m vnca_jax.eval": "--limit 6 --num-samples 4",
}
# Less optimized programs compile in half the time, and none of them are kept.
SETTINGS = {"jax_disable_most_optimizations": True, "jax_enable_compilation_cache": False}


class Block(NamedTuple):
    """A fenced block of the page, and what running it printed."""

    language: str
    text: str
    printed: str = ""


def blocks(page: str) -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]


def run_command(line: str) -> None:
    """A line of a terminal, in this process, in miniature."""
    line = IN_PLACE.get(line, line)
    [flags] = [flags for start, flags in SMALLER.items() if f"{line} ".startswith(f"{start} ")] or [""]
    python, option, module, *arguments = shlex.split(f"{line} {flags}")
    assert (python, option) == ("python", "-m")
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, module, raising=False)  # another test may have imported it
        patch.setattr(sys, "argv", [module, *arguments])
        runpy.run_module(module, run_name="__main__", alter_sys=True)


class Page:
    """The blocks of the page, and those that have been run, in order, in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.namespace: dict[str, object] = {"__name__": "tutorial"}
        self.ran: list[Block] = []

    def run(self, block: Block) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            if block.language == "python":
                exec(compile(block.text, str(PAGE), "exec"), self.namespace)
            elif block.language == "sh":
                for line in block.text.splitlines():
                    run_command(line)
        self.ran.append(block._replace(printed=printed.getvalue()))

    def printed_by(self, part: str) -> str:
        [block] = [block for block in self.ran if part in block.text and block.language != "text"]
        return block.printed

    def results(self, run: str) -> dict:
        return json.loads((self.folder / "runs" / run / "results.json").read_text())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tutorial")
    before = {"jax_disable_most_optimizations": jax.config.read("jax_disable_most_optimizations")}
    named = ("jax_enable_compilation_cache", "jax_compilation_cache_dir")
    before |= {name: getattr(jax.config, name) for name in named}
    with pytest.MonkeyPatch.context() as patch:
        tiny_binarized_mnist.put_tiny_in_place(folder, patch)
        patch.chdir(folder)
        patch.setattr(update_networks, "UPDATE_NETWORKS", dict(update_networks.UPDATE_NETWORKS))
        for name, value in SETTINGS.items():
            jax.config.update(name, value)
        yield Page(folder)
        for name, value in before.items():
            jax.config.update(name, value)


@pytest.mark.parametrize("block", blocks(PAGE.read_text()), ids=lambda block: f"{block.language}: {block.text[:40]!r}")
def test_it_runs(block, page):
    """The first of the tests here; the others look at what it left."""
    page.run(block)


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+|\d+", text)]


def first_row(table: str) -> tuple[float, float]:
    """The IWELBO and its standard error in nats, as printed."""
    found = re.search(r"IWELBO, K=\d+ +(\S+) \+- (\S+) ", table)
    assert found
    return float(found[1]), float(found[2])


def test_make_demo_is_what_runs_in_its_place():
    makefile = (ROOT / "Makefile").read_text().replace("$(BIN)/", "")
    recipe = re.search(r"^demo:.*\n\t(.*)$", makefile, re.MULTILINE)
    assert recipe and recipe[1] == IN_PLACE["make demo"]


def test_what_the_blocks_print_is_what_the_page_says(page):
    compared = 0
    for block, after in itertools.pairwise(page.ran):
        if block.language == "python" and after.language == "text":
            assert re.sub(r"-?\d+(\.\d+)?", "#", block.printed) == re.sub(r"-?\d+(\.\d+)?", "#", after.text)
            np.testing.assert_allclose(numbers(block.printed), numbers(after.text), rtol=0.02, atol=0.15)
            compared += 1
    assert compared == 2
    assert [block.language for block in page.ran].count("sh") == 6


def test_the_first_model(page):
    said, evaluation = page.printed_by("make demo"), page.results("mnist_doubling/cpu")["evaluation"]
    assert first_row(said) == tuple(round(value, 2) for value in evaluation["terms"]["iwelbo"]["nats"])
    *pictures, report = re.findall(r"runs/\S+", said)
    assert Path(report).name == "report.html" and "IWELBO" in (page.folder / report).read_text()
    assert {Path(name).name for name in pictures} >= {"reconstructions.png", "samples.png", "growth.png"}
    for name in pictures:
        with Image.open(page.folder / name) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 2, name
    again = page.printed_by("eval --ckpt runs/mnist_doubling/cpu")
    np.testing.assert_allclose(first_row(again), evaluation["terms"]["iwelbo"]["nats"], rtol=0, atol=0.0051)


def test_the_words_of_the_demo_are_those_that_it_prints(page):
    """But for the numbers, which are those of the full run."""
    [shown] = [block.text for block in page.ran if block.language == "text" and block.text.startswith("mnist_doubling")]
    said = page.printed_by("make demo").strip()

    def words(text: str) -> list[str]:
        return re.sub(r"-?\d+(\.\d+)?", "#", text).split()

    assert words(shown) == words(said)


def test_the_digits_heal(page):
    grown, damaged, healed = numbers(page.printed_by("pretrained("))
    assert grown < healed < damaged
    with Image.open(page.folder / "healed.png") as drawn, Image.open(ROOT / "docs" / "healed.png") as shown:
        difference = np.asarray(drawn, np.int16) - np.asarray(shown, np.int16)
    assert np.abs(difference).max() <= 1


def test_own_pictures(page):
    assert len(list((page.folder / "pictures").glob("*.png"))) == 60
    for run, name, shape in (
        ("celeba_doubling/discs", "folder:pictures", [4, 4, 3]),
        ("mnist_doubling/discs", "folder_binary:pictures", [4, 4, 1]),
    ):
        facts = page.results(run)
        evaluation = facts["evaluation"]
        assert (facts["dataset"], facts["updates"], evaluation["image_shape"]) == (name, 4, shape)
    terms = page.results("celeba_doubling/discs")["evaluation"]["terms"]
    again = page.printed_by("eval --ckpt runs/celeba_doubling/discs")
    assert "4 updates, on folder:pictures\n" in again
    np.testing.assert_allclose(first_row(again), terms["iwelbo"]["nats"], rtol=1e-5, atol=0.0051)


def test_own_rules(page):
    before, after = numbers(page.printed_by("fit("))
    assert after < before - 5
    said = page.printed_by("import_model(")
    assert said.startswith("DoublingVNCA far 60\n")
    assert first_row(said)[0] < -10 and "over 40 test images of 8x8x1 pixels" in said
    model, _ = import_model(page.folder / "runs" / "far")
    assert model.update.look.weight.shape == (5, 5, 16, 32)


def test_the_reader_of_blocks():
    text = "a\n```sh\none\ntwo\n```\n```python\nthree\n```\n    four\n"
    assert blocks(text) == [Block("sh", "one\ntwo\n"), Block("python", "three\n")]
    with pytest.raises(AssertionError):
        run_command("rm -r runs")
