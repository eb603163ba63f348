"""Lays the contents out: the template, the style sheet and the script of the page, put into one text."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any

from fairseq_musc.data.corpus import CORPORA
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.figure import COLOURS
from fairseq_musc.evaluate.table import notation
from fairseq_musc.page import charts
from fairseq_musc.page.contents import COLOURED, Contents
from fairseq_musc.page.examples import KINDS
from fairseq_musc.page.groups import RESAMPLES
from fairseq_musc.version import __version__

#: How many characters of an example's text are shown at once.
SHOWN = 600
#: The names of the paper that have indices: T_tst, S_tst^MT, L_ce and their kind.
_INDEXED = re.compile(r"(?<![\w.])([STL])_(trn|val|tst|ce|musc|mu|sc)(?:\^(MT|BT))?(?!\w)")
#: What a ``lang`` attribute may hold; whatever else a file name claims to be a language is not named there.
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z]{2,8})?")


def rendered(contents: Contents) -> str:
    """The page.

    Raises:
        InputError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup, escape
    except ImportError:
        raise InputError("the page needs Jinja2; pip install 'fairseq-musc[report]'") from None

    def indexed(text: Any, lower: str, upper: str) -> Any:
        """Text with the indices of the paper's names lowered and raised; everything else is escaped."""
        return Markup(
            _INDEXED.sub(
                lambda found: f"{found[1]}{lower.format(found[2])}{upper.format(found[3]) if found[3] else ''}",
                str(escape(text)),
            )
        )

    environment = Environment(
        loader=PackageLoader("fairseq_musc.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["names"] = lambda text: indexed(text, "<sub>{}</sub>", "<sup>{}</sup>")
    # SVG has no such elements, and shifts no baseline in every browser: each piece says how far it is from the last.
    lowered = '<tspan class="sub" dy="3">{}</tspan><tspan dy="-3">\u200b</tspan>'
    raised = '<tspan class="sub" dy="-3">{}</tspan>'
    environment.filters["svg_names"] = lambda text: indexed(text, lowered, raised)
    environment.filters["parted"] = parted
    environment.filters["language"] = lambda text: text if _LANGUAGE.fullmatch(text) else ""
    folder = files("fairseq_musc.page") / "templates"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return environment.get_template("page.html.jinja").render(
        page=contents,
        charts=charts,
        colours=COLOURS,
        kinds=KINDS,
        notation={**{name: notation(name) for name in CORPORA}, "Ens": notation("Ens")},
        coloured=COLOURED,
        resamples=RESAMPLES,
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def parted(text: str) -> tuple[str, str]:
    """A long text in two: what is shown at once, up to a space if there is one, and what is unfolded."""
    if len(text) <= 1.2 * SHOWN:  # what is left is worth unfolding
        return text, ""
    end = text.rfind(" ", SHOWN // 2, SHOWN) + 1 or SHOWN
    return text[:end], text[end:]


def _hash(text: str) -> str:
    """How a content security policy names an element's text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
