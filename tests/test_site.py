"""The documentation as Sphinx builds it: without a warning, with every module, equations, shapes and pictures."""

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "vnca_jax").rglob("*.py")
}
# Names alone, without a docstring to show, or a command.
WITHOUT_A_PLACE = {"vnca_jax", "vnca_jax.__main__", "vnca_jax.models", "vnca_jax.likelihoods"}


def test_every_module_has_a_place_in_the_reference():
    named = [
        name
        for page in (ROOT / "docs" / "api").glob("*.md")
        for name in re.findall(r"automodule:: (\S+)", page.read_text())
    ]
    assert set(named) == MODULES - WITHOUT_A_PLACE and len(named) == len(set(named))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` does."""
    if not importlib.util.find_spec("sphinx"):
        pytest.skip("the documentation needs pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    [recipe] = re.findall(r"^\t\$\(BIN\)/python (-m sphinx .*) docs build/docs$", (ROOT / "Makefile").read_text(), re.M)
    command = [sys.executable, *recipe.split(), "docs", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "") and "-W" in command
    return folder


class Page(HTMLParser):
    """What a page of the site shows, and what it loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.text, self.tags, self.loaded = "", [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        target = given.get("src") if tag in ("img", "script") else given.get("href") if tag == "link" else None
        if target:
            self.loaded.append(target.partition("?")[0].partition("#")[0])

    def handle_data(self, data):
        self.text += data


@pytest.mark.slow
def test_pages_load_what_is_there_and_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for path in pages:
        for target in Page(path).loaded:
            assert "//" not in target and (path.parent / target).exists(), (path.name, target)
    assert "page/index.html" in (site / "index.html").read_text()  # where the workflow puts the page of web/
    workflow = (ROOT / ".github" / "workflows" / "pages.yml").read_text()
    assert "mv site build/docs/page" in workflow and "path: build/docs\n" in workflow


@pytest.mark.slow
def test_shapes_units_and_equations_render(site):
    bounds = Page(site / "api" / "bounds.html")
    words = " ".join(bounds.text.split())
    assert "noise: Float[Array, 'n latent']" in words and "reparameterize(" in words
    assert "each per image in nats: elbo = log_px_given_z - beta * kl." in words
    assert "KL(q(z|x) || p(z))" in words and bounds.tags.count("math") >= 6
    everything = " ".join(Page(path).text for path in (site / "api").glob("*.html"))
    assert "key: PRNGKeyArray" in everything
    for inner in ("jaxlib", "jax._src", "UInt32[", "~jaxtyping"):
        assert inner not in everything, inner
    assert "$" not in re.sub(r"\$[A-Z]", "", bounds.text)
