"""The documentation's settings, and three small things that Sphinx does not do by itself: `make docs`.

Docstrings are read as what they are, sentences with code in backticks; equations become MathML, which browsers draw
without a script from elsewhere; and annotations of shapes stand in signatures as in the source.
"""

import os
import re
from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # whose import the API reference needs

import jax

jax.Array.__name__ = "Array"  # what annotations show, where it says the module too

import vnca_jax  # noqa: E402

project, author = "vnca_jax", "The vnca_jax developers"
project_copyright = "MIT licence"
version = release = vnca_jax.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"vnca_jax {version}"
html_static_path = ["static"]
html_css_files = ["style.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
add_module_names = False

CODE = re.compile(r"(`[^`]+`)")
# What annotations print as, and what the source calls it; in this order.
NAMES = {
    "~jaxtyping.": "",
    "Key[Array, ''] | UInt32[Array, '2'] | UInt32[Array, '4']": "PRNGKeyArray",
    "numpy.ndarray": "np.ndarray",
    "jax._src.mesh.Mesh": "Mesh",
}
SPECIAL = re.compile(r"([*|\\_])")  # what reStructuredText would take for markup


def as_restructured_text(lines: list[str]) -> list[str]:
    """A docstring's lines, with `code` as ``code``, indented blocks as they stand, and all else as plain text."""
    found, in_block = [], False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not in_block:
            found += ["::", ""]
        in_block = indented or (in_block and not line.strip())
        found.append(line if indented else _escaped(line))
    return found


def _escaped(line: str) -> str:
    parts = CODE.split(line)
    return "".join(f"`{part}`" if i % 2 else SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def _process_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_restructured_text(lines)


def _process_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    return _as_in_the_source(signature), _as_in_the_source(returns)


def _as_in_the_source(signature: str | None) -> str | None:
    """A signature with arrays and keys by the names that the source gives them."""
    for name, short in NAMES.items():
        signature = signature and signature.replace(name, short)
    return signature


def _skip_member(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool:
    """Leaves out what a NamedTuple or a module brings along."""
    inherited = getattr(obj, "__doc__", None) or ""
    return skip or inherited.startswith("Alias for field number")


def _math(translator: Any, node: Any, *, block: bool) -> None:
    mathml = latex2mathml.tex2mathml(node.astext(), as_block=block)
    translator.body.append(f'<div class="math">{mathml}</div>' if block else mathml)
    raise SkipNode


def setup(app: Sphinx) -> None:
    """Connects the three."""
    app.connect("autodoc-process-docstring", _process_docstring)
    app.connect("autodoc-process-signature", _process_signature)
    app.connect("autodoc-skip-member", _skip_member)
    app.add_html_math_renderer(
        "mathml",
        (lambda translator, node: _math(translator, node, block=False), None),
        (lambda translator, node: _math(translator, node, block=True), None),
    )
