"""Draws Figure 1 of the paper: what the ensemble changes, row by row.

reads   FOLDER/T_tst.<language>, S_tst_MT.<language>, Ens.<language>: predictions tables of one checkpoint
writes  OUTPUT/figure1.png, OUTPUT/figure1.svg, and OUTPUT/figure1.tsv with the counts

A point is a test row: x is the probability of its right label on S_tst^MT, y that on T_tst. Its colour says what is
right: blue, T_tst and Ens.; orange, T_tst alone (lost by the ensemble); green, Ens. alone (won by it); red, neither.
There is a panel for each language and, if they are several, one for all. English is left out: it is not translated, so
both probabilities are the same.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.report import LINES, ordered, read_tables, results_of
from fairseq_musc.evaluate.table import Predictions
from fairseq_musc.files import written_whole
from fairseq_musc.progress import with_progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Colour(NamedTuple):
    """One of the four kinds of points."""

    meaning: str
    right_on_target: bool
    right_on_ensemble: bool
    colour: str
    """In tones that people with a colour vision deficiency can tell apart (Okabe and Ito)."""
    marker: str
    size: float
    """In square points."""


#: By the paper's names of the colours, in the order of drawing: the rarer ones lie on top.
COLOURS = {
    "blue": Colour("right on T_tst and on Ens.", True, True, "#0072B2", "o", 9),
    "red": Colour("wrong on T_tst and on Ens.", False, False, "#C0143C", "x", 9),
    "orange": Colour("right on T_tst, wrong on Ens.", True, False, "#E69F00", "v", 16),
    "green": Colour("wrong on T_tst, right on Ens.", False, True, "#009E73", "^", 16),
}
ALL = "all"
PANELS_IN_A_ROW = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc figure``."""
    parser.add_argument("--predictions", required=True, type=Path, metavar="FOLDER", help="the predictions tables")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where the figure is written")
    parser.add_argument("--languages", nargs="+", help="draw these (default: all but English)")


def run(arguments: argparse.Namespace) -> None:
    """Reads the tables, counts, draws, and writes the three files."""
    tables = read_tables(arguments.predictions)
    signature = results_of(tables).signature
    panels = panels_of(tables, arguments.languages)
    drawing = draw(panels, signature)
    for suffix in with_progress(("png", "svg"), "files", "draw"):
        with written_whole(arguments.output / f"figure1.{suffix}", "wb") as stream:
            save(drawing, stream, suffix)
    with written_whole(arguments.output / "figure1.tsv") as stream:
        stream.write(as_tsv(panels, signature))
    for name, points in panels.items():
        counts = ", ".join(f"{count} {colour}" for colour, count in points.counts().items())
        print(f"{name}: {len(points.x)} rows: {counts}")


class Points(NamedTuple):
    """The points of a panel, n rows."""

    x: NDArray[np.float64]
    """The probability of the right label on S_tst^MT; shape (n,)."""
    y: NDArray[np.float64]
    """That on T_tst; shape (n,)."""
    right_on_target: NDArray[np.bool_]
    """Whether the most probable class on T_tst is the right one; shape (n,)."""
    right_on_ensemble: NDArray[np.bool_]
    """Whether that of the ensemble is; shape (n,)."""

    def of(self, colour: Colour) -> NDArray[np.bool_]:
        """The rows of a colour; shape (n,)."""
        on_target = self.right_on_target == colour.right_on_target
        return on_target & (self.right_on_ensemble == colour.right_on_ensemble)

    def counts(self) -> dict[str, int]:
        """Colour to the number of its points."""
        return {name: int(self.of(colour).sum()) for name, colour in COLOURS.items()}


def panels_of(
    tables: Mapping[str, Mapping[str, Predictions]], languages: Sequence[str] | None = None
) -> dict[str, Points]:
    """Language, and ``all`` behind several, to the points of its panel.

    Args:
        tables: corpus to language to predictions that go together, with ``T_tst``, ``S_tst_MT`` and ``Ens``.
        languages: which to draw; all that have predictions but English if None.

    Raises:
        InputError: a language lacks one of the three tables, or is English.
    """
    needed = ("T_tst", "S_tst_MT", "Ens")
    there = ordered({language: None for corpus in needed for language in tables.get(corpus, {})})
    there = [language for language in there if language != SOURCE_LANGUAGE]
    wanted = there if languages is None else list(dict.fromkeys(languages))
    if SOURCE_LANGUAGE in wanted:
        raise InputError(f"{SOURCE_LANGUAGE} is not translated, so there is nothing to compare; leave it out")
    if not wanted:
        raise InputError("there are no predictions in a language other than English; predict on T_tst and S_tst_MT")
    missing = [f"{corpus}.{name}" for name in wanted for corpus in needed if name not in tables.get(corpus, {})]
    if missing:
        raise InputError(
            f"the figure needs {', '.join(missing)}, which is not there; predict, and run `fairseq-musc ensemble` "
            f"(languages that are there: {', '.join(there) or 'none'})"
        )
    panels = {language: points_of(*(tables[corpus][language] for corpus in needed)) for language in wanted}
    if len(panels) > 1:
        columns = zip(*panels.values(), strict=True)
        panels[ALL] = Points(*(np.concatenate(column) for column in columns))
    return panels


def points_of(target: Predictions, source: Predictions, ensemble: Predictions) -> Points:
    """The points of aligned predictions on T_tst, S_tst^MT and Ens."""
    labels = target.labels
    rows = np.arange(len(labels))
    return Points(
        x=source.probabilities[rows, labels],
        y=target.probabilities[rows, labels],
        right_on_target=target.probabilities.argmax(axis=1) == labels,
        right_on_ensemble=ensemble.probabilities.argmax(axis=1) == labels,
    )


def draw(panels: Mapping[str, Points], signature: Sequence[str]) -> Figure:
    """The figure: a square panel each with its counts of green and orange, the legend and the signature below.

    Raises:
        InputError: matplotlib is not installed.
    """
    style = _style()
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows = -(-len(panels) // PANELS_IN_A_ROW)
    columns = -(-len(panels) // rows)
    width = max(2.6 * columns + 0.5, 4.4)
    legend_columns = 1 if columns == 1 else 2
    small_print = [part for line in signature for part in textwrap.wrap(line, int(22 * width), subsequent_indent="  ")]
    signature_height = 0.14 * len(small_print) + 0.1  # all lengths are in inches
    legend_height = 0.22 * len(COLOURS) / legend_columns + 0.15
    below = signature_height + legend_height
    height = 0.35 + 2.75 * rows + below
    margin = 0.6 if columns > 1 else (width - 2.4) / 2
    with style:
        figure = Figure(figsize=(width, height))
        grid = figure.add_gridspec(
            rows,
            columns,
            left=margin / width,
            right=1 - (0.15 if columns > 1 else margin) / width,
            top=1 - 0.35 / height,
            bottom=(below + 0.5) / height,
            wspace=0.22,
            hspace=0.3,
        )
        for place, (name, points) in enumerate(panels.items()):
            axes = figure.add_subplot(grid[place // columns, place % columns])
            _draw_panel(axes, name, points)
            if place % columns == 0:
                axes.set_ylabel(f"p(right label) on {LINES['T_tst']}")
            if place + columns >= len(panels):
                axes.set_xlabel(f"p(right label) on {LINES['S_tst_MT']}")
        total = list(panels.values())[-1].counts()
        figure.legend(
            handles=[
                Line2D(
                    [],
                    [],
                    linestyle="",
                    marker=each.marker,
                    color=each.colour,
                    label=f"{name}: {each.meaning} ({total[name]})",
                )
                for name, each in COLOURS.items()
            ],
            loc="lower center",
            bbox_to_anchor=(0.5, signature_height / height),
            ncols=legend_columns,
            frameon=False,
            fontsize=9,
        )
        for place, line in enumerate(reversed(small_print)):
            figure.text(0.1 / width, (0.08 + 0.14 * place) / height, line, fontsize=6.5, color="#555555")
    return figure


def _style() -> AbstractContextManager[None]:
    """The same settings everywhere, whatever a user's matplotlibrc says.

    Text stays text in SVG, and dollars in a name are no formula.
    """
    try:
        from matplotlib import style
    except ImportError:
        raise InputError("figures need matplotlib; pip install 'fairseq-musc[report]'") from None
    context: AbstractContextManager[None] = style.context(
        [
            "default",
            {"font.family": "DejaVu Sans", "svg.fonttype": "none", "svg.hashsalt": "figure1", "text.parse_math": False},
        ]
    )
    return context


def _draw_panel(axes: Any, name: str, points: Points) -> None:
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.6, zorder=0)
    crowd = 30 / np.sqrt(len(points.x))  # the more points, the fainter and smaller
    for order, (colour_name, colour) in enumerate(COLOURS.items(), start=1):
        mine = points.of(colour)
        axes.scatter(
            points.x[mine],
            points.y[mine],
            s=colour.size * float(np.clip(2 * crowd, 0.5, 1)),
            c=colour.colour,
            marker=colour.marker,
            alpha=float(np.clip(crowd, 0.15, 0.7)),
            linewidths=0.7 if colour.marker == "x" else 0,
            zorder=order,
            gid=f"{name}-{colour_name}",
        )
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.tick_params(labelsize=8)
    axes.set_title(name.upper() if name != ALL else ALL, loc="left", fontsize=10, fontweight="bold")
    counts = points.counts()
    for colour_name, right, tone in [("green", 0.62, "#00694C"), ("orange", 1.0, "#A06A00")]:
        text = f"{counts[colour_name]} {colour_name}"
        axes.text(right, 1.03, text, transform=axes.transAxes, ha="right", fontsize=8.5, color=tone)


def save(figure: Figure, stream: IO[bytes], suffix: str) -> None:
    """Writes a figure as ``png`` or ``svg``, without dates and random names: the same figure gives the same bytes."""
    nothing: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    with _style():
        figure.savefig(stream, format=suffix, dpi=200, metadata=nothing[suffix])


def as_tsv(panels: Mapping[str, Points], signature: Sequence[str]) -> str:
    """The counts: a line for each panel with its rows and the points of each colour; meanings and signature below."""
    lines = [["language", "rows", *COLOURS]]
    for name, points in panels.items():
        lines.append([name, str(len(points.x)), *map(str, points.counts().values())])
    below = [*(f"{name}: {colour.meaning}" for name, colour in COLOURS.items()), *signature]
    return "".join("\t".join(cells) + "\n" for cells in lines) + "".join(f"# {line}\n" for line in below)
