"""How ``make docs`` makes a site of this folder: Sphinx, with the Markdown pages as they are.

- The reference is read off the sources (sphinx-autoapi), so that neither torch nor fairseq is imported.
- Formulas become MathML (docutils), which browsers show by themselves: the site loads nothing from anywhere.
- A page that ``index.md`` does not name stands in the menu all the same, under "More".
"""

import argparse
import importlib
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from astroid.exceptions import AstroidImportError
from astroid.manager import AstroidManager
from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

from fairseq_musc.cli import VERBS
from fairseq_musc.version import __version__

HERE = Path(__file__).parent

project = "fairseq-musc"
version = release = __version__
copyright = ""
language = "en"
extensions = ["myst_parser", "autoapi.extension", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
highlight_language = "none"

autoapi_dirs = list(find_spec("fairseq_musc").submodule_search_locations)
autoapi_root = "reference"
autoapi_add_toctree_entry = False
autoapi_options = ["members", "show-module-summary"]
autoapi_member_order = "bysource"
napoleon_use_rtype = False
napoleon_use_ivar = True  # what a class lists under "Attributes:" may be described as a member, too
# Names that a module takes from another are described there; short names in types may mean several members.
suppress_warnings = ["autoapi.python_import_resolution", "ref.python"]

html_theme = "furo"
html_title = f"fairseq-musc {version}"
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"

#: Pages that are another file of the repository: the one place where each text stands.
ELSEWHERE = {"index": "README.md", "contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}
#: Where files of the repository are on the site.
LINKS = {file: f"{page}.md" for page, file in ELSEWHERE.items()}


def only_ours(module_of):
    """astroid's search for modules, kept within this package: it would read half of torch for a type that it skips."""

    def search(self, name, *arguments, **more):
        if name.split(".")[0] not in {"", "fairseq_musc", *sys.stdlib_module_names}:
            raise AstroidImportError(f"{name} is not looked at")
        return module_of(self, name, *arguments, **more)

    return search


AstroidManager.ast_from_module_name = only_ours(AstroidManager.ast_from_module_name)


def take_from_elsewhere(app, docname, source):
    """Puts what a page stands for in the place of its marks, and the forgotten pages in the menu."""
    if docname in ELSEWHERE:
        text = (HERE.parent / ELSEWHERE[docname]).read_text(encoding="utf-8")
        source[0] = source[0].replace(f"<!-- {ELSEWHERE[docname]} -->", text)
    if docname == "index":
        forgotten = sorted(set(pages()) - named_pages())
        more = "\n".join(["```{toctree}", ":hidden:", ":caption: More", "", *forgotten, "```"])
        source[0] = source[0].replace("<!-- more -->", more if forgotten else "")
    if docname == "commands":
        source[0] = source[0].replace("<!-- verbs -->", "\n\n".join(map(help_of, VERBS)))
    if "/" not in docname:  # pages in a folder name the others as the site does
        source[0] = re.sub(r"\]\((?:\.\./|docs/)?([\w./-]+)(#[\w-]*)?\)", link_on_the_site, source[0])


def link_on_the_site(found):
    """A link between files of the repository as one between pages."""
    return f"]({LINKS.get(found[1], found[1])}{found[2] or ''})"


def pages():
    """The names of the pages in this folder, and in that of the results."""
    found = [*HERE.glob("*.md"), *HERE.glob("results/*.md")]
    return [path.relative_to(HERE).with_suffix("").as_posix() for path in found]


def named_pages():
    """The pages that ``index.md`` names, itself among them."""
    index = (HERE / "index.md").read_text(encoding="utf-8")
    inside = re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
    lines = [line for block in inside for line in block.splitlines() if line and not line.startswith(":")]
    return {"index", *(line.rpartition("<")[2].rstrip(">") for line in lines)} - {"self"}


def help_of(verb):
    """What ``fairseq-musc VERB --help`` prints, as a section."""
    module = importlib.import_module(VERBS[verb].module)
    parser = argparse.ArgumentParser(
        prog=f"fairseq-musc {verb}",
        description=module.__doc__,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=110),
    )
    module.add_arguments(parser)
    return f"## {verb}\n\n```text\n{parser.format_help()}```"


def mend_docstring(app, what, name, obj, options, lines):
    """Docstrings as Sphinx needs them: those of verbs are the text of ``--help``; a bar is a bar."""
    if what == "module" and name in {verb.module for verb in VERBS.values()}:
        lines[:] = [lines[0], "", "::", "", *(f"    {line}" for line in lines[1:])]
    else:
        lines[:] = [
            "".join(part if part.startswith("``") else part.replace("|", r"\|") for part in re.split("(``.*?``)", line))
            for line in lines
        ]


def visit_math(self, node):
    """A formula as MathML; one that stands apart can be moved where the screen is narrow."""
    apart = isinstance(node, nodes.math_block)
    try:
        formula = tex2mathml(node.astext(), as_block=apart)
        self.body.append(f'<div style="overflow-x: auto">{formula}</div>' if apart else formula)
    except MathError as error:
        logging.getLogger(__name__).warning("%s: %s", error, node.astext(), location=node)
    raise nodes.SkipNode


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", take_from_elsewhere)
    app.connect("autodoc-process-docstring", mend_docstring)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
