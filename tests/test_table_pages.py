"""The tables in the README and in the documentation: in step with the trained models, and rewritten in place."""

from pathlib import Path

import pytest
from made_results import made

from experiments import table
from experiments.comparison import compare
from vnca_jax.errors import InputError

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", [Path("README.md"), Path("docs/results.md")], ids=str)
def test_the_documentation_is_in_step(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert table.in_readme(page, compare([Path("pretrained")])) == page.read_text()


def test_only_what_is_between_the_markers_changes(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter | `x`\n")
    made(tmp_path / "runs" / "a", bound=(-84.65, 0.9))
    options = table.Options(runs=(tmp_path / "runs",), out=tmp_path, readme=(readme,))
    table.main(options)
    written = readme.read_text()
    assert written.startswith("before\n<!-- table -->\n") and written.endswith("<!-- /table -->\nafter | `x`\n")
    assert "old" not in written and "-84.65 +- 0.90" in written
    table.main(options)
    assert readme.read_text() == written


def test_a_page_has_narrow_columns(tmp_path):
    """What differs stands with the command; the table that is printed and written has it in the row."""
    made(tmp_path / "runs" / "a", bound=(-84.65, 0.9), latent_size=32, hidden_size=32, limit=100)
    comparison = compare([tmp_path / "runs"])
    page, whole = table.markdown(comparison, short=True), table.markdown(comparison)
    [row] = [line for line in page.splitlines() if "-84.65" in line]
    assert row.startswith("| doubling VNCA, another configuration | static binarized MNIST")
    assert page.endswith("--name a`. It differs in 32 channels, 100 of 10,000 test images.\n")
    assert "| doubling VNCA with 32 channels, 100 of 10,000 test images |" in whole and "differs in" not in whole
    assert {line.partition("| static")[2] for line in page.splitlines() if line.startswith("|")} == {
        line.partition("| static")[2] for line in whole.splitlines() if line.startswith("|")
    }


def test_the_status_table(tmp_path):
    """A row an experiment: the best reduced run until there is one in the paper's configuration, and where it is."""
    page = tmp_path / "page.md"
    page.write_text("<!-- status -->\n<!-- /status -->\n")
    made(tmp_path / "pretrained" / "worse", bound=(-99.5, 0.5), latent_size=8)
    made(tmp_path / "pretrained" / "better", bound=(-98.5, 0.25), latent_size=16)

    def rows():
        table.main(table.Options(runs=(tmp_path,), out=tmp_path / "out", readme=(page,)))
        return [line.split(" | ")[1:5] for line in page.read_text().splitlines() if line.startswith("| ")][2:]

    found = rows()
    assert len(found) == 6 and found[0] == ["-84.23", "-83.56, -84.15", "-98.50 +- 0.25, reduced", "`better`"]
    assert found[1] == ["-90.97", "-87.92, -89.3", "not run", "none"]
    assert found[3][:2] == ["4.42", "none"] and found[5][:2] == ["3.09", "none"]
    made(tmp_path / "runs" / "papers", bound=(-99.0, 0.125))
    assert rows()[0][2:] == ["-99.00 +- 0.12", "none"]


@pytest.mark.parametrize("text", ["", "<!-- table -->", "<!-- /table --><!-- table -->", "<!-- table -->" * 2])
def test_a_readme_without_markers(text, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(InputError, match="must have <!-- table --> and below it <!-- /table -->"):
        table.main(table.Options(runs=(tmp_path,), out=tmp_path / "out", readme=(readme,)))
    assert readme.read_text() == text and not (tmp_path / "out").exists()
