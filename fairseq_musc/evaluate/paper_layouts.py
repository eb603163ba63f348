"""A table of the paper for a terminal, in Markdown, as TSV and in LaTeX."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

from fairseq_musc.evaluate.layout import aligned, markdown_rows
from fairseq_musc.evaluate.paper_tables import Cell, FilledLine, FilledTable, signature_lines
from fairseq_musc.evaluate.report import percent
from fairseq_musc.files import written_whole

MISSING = "–"


def write_table(folder: Path, filled: FilledTable) -> None:
    """Writes ``tableN.md``, ``tableN.tsv`` and ``tableN.tex``, each whole or not at all."""
    for suffix, text in {"md": as_markdown(filled), "tsv": as_tsv(filled), "tex": as_latex(filled)}.items():
        with written_whole(folder / f"table{filled.number}.{suffix}") as stream:
            stream.write(text)


def tenths_of_percent(variance: Fraction) -> str:
    """The square root of a variance in % with one decimal, halves rounded up; exact, as no float comes into it.

    n tenths is the largest whole number with n - 1/2 <= sqrt(v), that is (2n - 1)^2 <= 4v.
    """
    n = (math.isqrt(math.floor(4 * variance * 10**6)) + 1) // 2
    return f"{n // 10}.{n % 10}"


def cell_text(cell: Cell | None, paper: str | None, bold: str = "{}") -> str:
    """A cell in %: ``56.1``, ``56.1 ± 0.3`` over seeds, ``56.1 (56.3)`` with the paper's figure.

    ``bold`` is a pattern that our own figure is put into.
    """
    text = MISSING if cell is None else percent(cell.mean)
    if cell is not None and cell.variance is not None:
        text += f" ± {tenths_of_percent(cell.variance)}"
    return bold.format(text) if paper is None else f"{bold.format(text)} ({paper})"


def caption(filled: FilledTable) -> str:
    """What stands above the table."""
    lines = [line for block in filled.blocks for line in block.lines]
    sentences = [filled.table.caption, "Accuracy in %, averages over the languages unweighted."]
    if filled.table.terms is not None:
        sentences.append(f"Loss: {filled.terms}.")
    if any(len(line.runs) > 1 for line in lines):
        sentences.append("Mean ± sample standard deviation over seeds.")
    if any(line.paper for line in lines):
        sentences.append("In parentheses: the paper.")
    return " ".join(sentences)


def heads(filled: FilledTable) -> list[str]:
    """The heads of the columns that hold names; XNLI's own tables need no data set."""
    first = [] if filled.table.data == "apart" and len(filled.blocks) == 1 else ["Dataset"]
    return [*first, *filled.table.heads]


def blocks_of_cells(filled: FilledTable, bold: str = "{}") -> list[list[list[str]]]:
    """The printed lines, block by block; the best averages are put into the pattern ``bold``."""
    with_dataset = len(heads(filled)) > len(filled.table.heads)
    blocks = []
    for block in filled.blocks:
        lines = []
        for place, line in enumerate(block.lines):
            names = [block.title if place == 0 else ""] * with_dataset + list(line.line.labels)
            cells = [cell_text(line.cells.get(language), line.paper.get(language)) for language in filled.languages]
            pattern = bold if line in best(filled, block.lines) else "{}"
            lines.append([*names, *cells, cell_text(line.average, line.paper.get("average"), pattern)])
        blocks.append(lines)
    return blocks


def best(filled: FilledTable, lines: list[FilledLine]) -> list[FilledLine]:
    """The lines with the best average, as printed, among those they compete with; none where there is one alone."""
    place = filled.table.rivals
    groups: dict[str, list[FilledLine]] = {}
    for line in lines:
        if line.average is not None:
            groups.setdefault("" if place is None else line.line.labels[place], []).append(line)
    found = []
    for rivals in groups.values():
        averages = [_printed(line) for line in rivals]
        found += [line for line, printed in zip(rivals, averages, strict=True) if printed == max(averages)]
        if len(rivals) == 1:
            found.remove(rivals[0])
    return found


def _printed(line: FilledLine) -> Fraction:
    assert line.average is not None
    return Fraction(percent(line.average.mean))


def notes(filled: FilledTable, verbose: bool = False) -> list[str]:
    """What a reader has to know, and how many folders are not in the table."""
    lines = list(filled.notes)
    if filled.unused:
        folders = f"{len(filled.unused)} predictions folder{'s' * (len(filled.unused) > 1)}"
        belong = "belongs" if len(filled.unused) == 1 else "belong"
        named = "" if verbose else " (the .tsv and --verbose say why)"
        lines.append(f"{folders} {belong} to no line of Table {filled.number}{named}.")
    if verbose:
        lines += [f"Not in the table: {run.folder}: {why}." for run, why in filled.unused]
    return lines


def column_heads(filled: FilledTable) -> list[str]:
    """The printed heads."""
    return [*heads(filled), *(language.upper() for language in filled.languages), "Avg."]


def as_text(filled: FilledTable, verbose: bool = False) -> str:
    """The table for a terminal: aligned columns, then notes and signature."""
    names = len(heads(filled))
    lines = [cells for block in blocks_of_cells(filled) for cells in block]
    above = f"Table {filled.number}. {caption(filled)}"
    table = aligned([column_heads(filled), *lines], names)
    return "\n".join([above, "", *table, "", *notes(filled, verbose), *signature_lines(filled), ""])


def as_markdown(filled: FilledTable) -> str:
    """The table in Markdown, notes and signature below."""
    lines = [cells for block in blocks_of_cells(filled, bold="**{}**") for cells in block]
    table = markdown_rows([column_heads(filled), *lines], len(heads(filled)))
    below = [f"- {line}" for line in [*notes(filled), *signature_lines(filled)]]
    return "\n".join([f"Table {filled.number}. {caption(filled)}", "", *table, "", *below, ""])


def as_tsv(filled: FilledTable) -> str:
    """The table for programs.

    The columns say what a line is of (data set, rows of S_trn, label, training corpora, terms, inference, seeds), then
    follow the mean accuracies by language and on average, their sample standard deviations (``de_std``) and, where they
    were asked for, the paper's figures in % (``de_paper``). Accuracies are in [0, 1] and unrounded; what is missing is
    an empty cell. Below, in lines that begin with ``#``: notes, folders that are not in the table, and a JSON object
    for each run with its lines, its whole signatures and the checksums of its tables.
    """
    columns = [*filled.languages, "average"]
    with_paper = any(line.paper for block in filled.blocks for line in block.lines)
    header = ["dataset", "size", "line", "training", "terms", "inference", "seeds"]
    header += columns + [f"{column}_std" for column in columns]
    header += [f"{column}_paper" for column in columns] if with_paper else []
    lines = [header]
    lines_of_run: dict[Path, list[str]] = {}
    runs = {}
    for block in filled.blocks:
        for line in block.lines:
            sizes = {run.size for run in line.runs} | {block.size}
            cells = [(line.average if column == "average" else line.cells.get(column)) for column in columns]
            row = [
                block.dataset,
                ",".join(str(size) for size in sizes if size is not None),
                line.line.label,
                "+".join(line.line.corpora),
                line.line.terms or filled.terms or "",
                line.line.inference,
                ",".join(str(run.signature.seed) for run in line.runs),
            ]
            row += ["" if cell is None else repr(float(cell.mean)) for cell in cells]
            row += ["" if cell is None or cell.variance is None else repr(math.sqrt(cell.variance)) for cell in cells]
            row += [line.paper.get(column, "") for column in columns] if with_paper else []
            lines.append(row)
            for run in line.runs:
                runs[run.folder] = run
                lines_of_run.setdefault(run.folder, []).append(f"{block.title}, {line.line.label}")
    below = [*filled.notes, *(f"not in the table: {run.folder}: {why}" for run, why in filled.unused)]
    for folder, run in runs.items():
        tables = {
            f"{corpus}.{language}": asdict(signature) | {"table_sha256": run.sha256[corpus][language]}
            for corpus, cells_of in run.signatures.items()
            for language, signature in cells_of.items()
        }
        about = {"folder": str(folder), "lines": lines_of_run[folder], "tables": tables}
        below.append(f"run {json.dumps(about, ensure_ascii=False)}")
    return "".join("\t".join(row) + "\n" for row in lines) + "".join(f"# {line}\n" for line in below)


#: The notation of corpora and losses within a text, e.g. ``T_trn^BT``, ``L_sc``.
_NOTATION = re.compile(r"\b([STL])_([a-z]+)(?:\^([A-Z]+))?")
_LATEX = {"λ": r"$\lambda$", "±": r"$\pm$", "–": "--", "\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"}}


def latex(text: str) -> str:
    r"""A text with its notation as the paper prints it, e.g. ``$\mathcal{T}_{\text{trn}}^{\text{BT}}$``."""
    pieces, end = [], 0
    for found in _NOTATION.finditer(text):
        letter, below, above = found.groups()
        pieces += [_escaped(text[end : found.start()]), rf"$\mathcal{{{letter}}}_{{\text{{{below}}}}}"]
        pieces += [rf"^{{\text{{{above}}}}}$" if above else "$"]
        end = found.end()
    return "".join([*pieces, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def as_latex(filled: FilledTable) -> str:
    """The table as a LaTeX environment, with notes and signature as comments.

    The document needs the packages amsmath and booktabs.
    """
    names = len(heads(filled))
    with_dataset = names > len(filled.table.heads)
    rows = []
    for block in blocks_of_cells(filled, bold="*{}*"):
        rows.append(r"\midrule")
        for cells in block:
            labels = [r"$\mathcal{L}$" if cell == "L" else latex(cell) for cell in cells[with_dataset:names]]
            numbers = [re.sub(r"\*(.*)\*", r"\\textbf{\1}", _escaped(cell)) for cell in cells[names:]]
            rows.append(" & ".join([*map(_escaped, cells[:with_dataset]), *labels, *numbers]) + r" \\")
    lines = [
        "% \\usepackage{amsmath,booktabs}",
        *(f"% {line}" for line in [*notes(filled), *signature_lines(filled)]),
        r"\begin{table*}[t]",
        r"\centering",
        r"\small",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{latex(caption(filled))}}}",
        rf"\label{{tab:table{filled.number}}}",
        rf"\begin{{tabular}}{{{'l' * names}{'r' * (len(filled.languages) + 1)}}}",
        r"\toprule",
        " & ".join(_escaped(head) for head in column_heads(filled)) + r" \\",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"
