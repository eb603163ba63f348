"""Prints how well the probabilities on T_tst, S_tst^MT and of the ensembles say how often they are right.

Reads FOLDER/T_tst.<language>, S_tst_MT, Ens and, if it is there, Ens_w: predictions tables. Writes
FOLDER/calibration.tsv (unrounded) and FOLDER/calibration.md; with --plot a reliability diagram as
FOLDER/calibration.png and FOLDER/calibration.svg.

ECE is the expected calibration error of Guo et al. (2017): rows in 15 bins of equal width by the probability of their
most probable class, and the distance of accuracy and mean probability in each, weighted by its rows. Brier is the
squared distance from the right class, summed over classes (0 to 2). NLL is -ln p of the right class. Of all three less
is better. Avg. is the unweighted mean over the languages, English included; English is not translated: its T_tst stands
in every line.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fairseq_musc.data.datasets import SOURCE_LANGUAGE
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.calibration import (
    BINS,
    Bins,
    binned,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from fairseq_musc.evaluate.ensemble import check_same_origin, check_same_rows, checkpoint_of
from fairseq_musc.evaluate.layout import NOTHING, Sheet, as_text, number, text, write
from fairseq_musc.evaluate.report import ordered
from fairseq_musc.evaluate.table import Predictions, Signature, list_predictions, notation, read_predictions
from fairseq_musc.files import written_whole
from fairseq_musc.progress import with_progress
from fairseq_musc.version import __version__

#: The lines of the table.
LINES = ("T_tst", "S_tst_MT", "Ens", "Ens_w")


#: The three figures: the formula, and the format and unit it is shown in.
MEASURES = {
    "ECE": (expected_calibration_error, ".2f", 100.0),
    "Brier": (brier_score, ".4f", 1.0),
    "NLL": (negative_log_likelihood, ".4f", 1.0),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``fairseq-musc calibrate``."""
    parser.add_argument("--predictions", required=True, type=Path, metavar="FOLDER", help="the predictions tables")
    parser.add_argument("--bins", type=int, default=BINS, metavar="M", help="of the ECE (default: %(default)s)")
    parser.add_argument("--plot", action="store_true", help="draw the reliability diagram as well (needs matplotlib)")


def run(arguments: argparse.Namespace) -> None:
    """Reads the tables, measures, writes both files and the figure if asked to, and prints."""
    if arguments.bins < 1:
        raise InputError(f"--bins is {arguments.bins}; it is at least 1")
    folder = arguments.predictions
    tables = read_lines(folder)
    sheet = sheet_of(tables, arguments.bins)
    write(sheet, folder / "calibration")
    if arguments.plot:
        languages = ordered({language: None for cells in tables.values() for language in cells})
        signature = signature_of(tables)
        title = f"{signature.dataset}, all rows of {', '.join(languages)} together; {checkpoint_of(signature)}"
        draw(reliability(tables, arguments.bins), folder / "calibration", title)
    print(as_text(sheet), end="")


def read_lines(folder: Path) -> dict[str, dict[str, Predictions]]:
    """Line of the table to language to predictions; T_tst stands in English where a line has none.

    Raises:
        InputError: there are none, or they are of several checkpoints or other rows.
    """
    tables: dict[str, dict[str, Predictions]] = {line: {} for line in LINES}
    wanted = [(corpus, language) for corpus, language in list_predictions(folder) if corpus in LINES]
    for corpus, language in with_progress(wanted, "tables", "read"):
        tables[corpus][language] = read_predictions(folder, corpus, language)
    tables = {line: cells for line, cells in tables.items() if cells}
    if not tables:
        raise InputError(f"{folder} holds no predictions for {', '.join(LINES)}; predict first")
    first_of: dict[str, Predictions] = {}
    for cells in tables.values():
        for language, predictions in cells.items():
            check_same_origin(next(iter(first_of.values()), predictions), predictions)
            check_same_rows(first_of.setdefault(language, predictions), predictions)
    english = tables.get("T_tst", {}).get(SOURCE_LANGUAGE)
    if english is not None:
        for cells in tables.values():
            cells.setdefault(SOURCE_LANGUAGE, english)
    return tables


def sheet_of(tables: Mapping[str, Mapping[str, Predictions]], bins: int) -> Sheet:
    """The printed table: three measures, each with its lines."""
    languages = ordered({language: None for cells in tables.values() for language in cells})
    rows = []
    for measure, (formula, form, scale) in MEASURES.items():
        for line, cells in tables.items():
            values = {
                language: formula(table.probabilities, table.labels, *([bins] if measure == "ECE" else []))
                for language, table in cells.items()
            }
            shown = [number(values[lang], form, scale) if lang in values else NOTHING for lang in languages]
            mean = number(float(np.mean(list(values.values()))), form, scale) if NOTHING not in shown else NOTHING
            rows.append([text(measure), text(notation(line), line), *shown, mean])
    signature = signature_of(tables)
    header = [text("Measure", "measure"), text("Inference", "inference")]
    header += [*(text(language.upper(), language) for language in languages), text("Avg.", "average")]
    notes = [
        f"ECE: in %, {bins} bins of equal width by the top probability; Brier: summed over classes; NLL: in nats",
        f"dataset: {signature.dataset}",
        f"checkpoint: {checkpoint_of(signature)}",
        f"seed: {signature.seed}",
        f"version: fairseq-musc {__version__}",
    ]
    return Sheet("Calibration: less is better", header, rows, notes, names=2)


def signature_of(tables: Mapping[str, Mapping[str, Predictions]]) -> Signature:
    """The signature of one table; data set, checkpoint and seed are the same in all."""
    return next(predictions.signature for cells in tables.values() for predictions in cells.values())


def reliability(tables: Mapping[str, Mapping[str, Predictions]], bins: int) -> dict[str, tuple[Bins, float]]:
    """Line to its bins over the rows of all languages together, and their ECE."""
    pooled = {}
    for line, cells in tables.items():
        probabilities = np.concatenate([table.probabilities for table in cells.values()])
        labels = np.concatenate([table.labels for table in cells.values()])
        ece = expected_calibration_error(probabilities, labels, bins)
        pooled[line] = binned(probabilities, labels, bins), ece
    return pooled


def draw(lines: Mapping[str, tuple[Bins, float]], stem: Path, title: str) -> None:
    """Writes the reliability diagram as ``<stem>.png`` and ``<stem>.svg``: a panel a line.

    Above: the accuracy of each bin over its mean probability, with the diagonal of perfect calibration. Below: the
    share of the rows in each bin.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise InputError("--plot needs matplotlib: pip install 'fairseq-musc[report]', or leave it out") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    look = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "fairseq-musc"}
    look |= {"text.parse_math": False}  # dollars in a name are no formula
    with pyplot.rc_context(look):
        size = (max(5.5, 0.5 + 2.5 * len(lines)), 4.2)
        figure, axes = pyplot.subplots(
            2, len(lines), figsize=size, height_ratios=[3, 1], sharex=True, sharey="row", squeeze=False
        )
        for (upper, lower), (line, (bins, ece)) in zip(axes.T, lines.items(), strict=True):
            confidence, accuracy = bins.confidence[bins.rows > 0], bins.accuracy[bins.rows > 0]
            upper.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="perfect")
            upper.vlines(confidence, confidence, accuracy, color="tab:red", linewidth=2, alpha=0.6, label="distance")
            upper.plot(confidence, accuracy, color="tab:blue", marker="o", markersize=3.5, linewidth=1, label="bins")
            upper.set(title=f"{notation(line)}: ECE {100 * ece:.1f}%", xlim=(0, 1.02), ylim=(0, 1.02))
            count = len(bins.rows)
            shares = bins.rows / bins.rows.sum()
            lower.bar(np.arange(count) / count, shares, width=1 / count, align="edge", color="0.7", edgecolor="white")
            lower.set(
                xlabel="top probability", xticks=[0, 0.25, 0.5, 0.75, 1], xticklabels=["0", "0.25", "0.5", "0.75", "1"]
            )
        axes[0, 0].set_ylabel("accuracy")
        axes[0, 0].legend(loc="upper left", frameon=False, fontsize=8)
        axes[1, 0].set_ylabel("share of rows")
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
        figure.tight_layout()
        files: tuple[tuple[str, dict[str, None] | None], ...] = (("png", None), ("svg", {"Date": None}))
        for ending, metadata in with_progress(files, "files", "draw"):
            with written_whole(stem.with_name(f"{stem.name}.{ending}"), "wb") as stream:
                figure.savefig(stream, format=ending, dpi=200, metadata=metadata)
        pyplot.close(figure)
