"""The tables of the paper, filled from many predictions folders: which runs make a line, and what stands in its cells.

A table has a block for each data set (and number of training rows), a block has the lines of :data:`TABLES`, and a line
is made from the runs that were trained and predicted as it says and that differ in their seed only. A cell is the mean
over the seeds, with the sample standard deviation (n - 1). Avg. is taken for each seed first: the unweighted mean over
the languages of the block, English included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from fairseq_musc.data.corpus import CORPORA
from fairseq_musc.data.datasets import DATASETS
from fairseq_musc.data.translators import mismatch
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.ensemble import checkpoint_of
from fairseq_musc.evaluate.published import PUBLISHED
from fairseq_musc.evaluate.report import LINES, mean, mixture, only_answer_note, ordered, read_tables, results_of
from fairseq_musc.evaluate.runs import Run
from fairseq_musc.evaluate.table import Training
from fairseq_musc.progress import with_progress

#: How the paper prints the names of data sets, in its order; others are printed as they are, behind these.
NAMES = {"marc": "MARC", "mldoc": "MLDoc", "pawsx": "PAWSX", "xnli": "XNLI"}
#: Tables 8 and 9 are Tables 3 and 5 for this data set.
APART = "xnli"


class Line(NamedTuple):
    """A line of a block: what its runs were trained with, and what its accuracies are over."""

    labels: tuple[str, ...]
    """What is printed, one for each head behind Dataset."""
    corpora: tuple[str, ...]
    """The training corpora."""
    inference: str
    """A key of :data:`fairseq_musc.evaluate.report.LINES`."""
    terms: str | None = None
    """The terms of the loss; None for those that the user names."""
    optional: bool = False
    """Not in the paper: the line is left out where there are no runs for it."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return " / ".join(self.labels)

    @property
    def paired(self) -> bool:
        """Whether the training corpora are two views of the same rows."""
        return "T_trn_MT" in self.corpora


class Table(NamedTuple):
    """A table of the paper."""

    caption: str
    heads: tuple[str, ...]
    """The heads of the columns before the languages, behind Dataset."""
    lines: tuple[Line, ...]
    data: str
    """``apart`` for :data:`APART` only, ``others`` for all but it, ``all``."""
    terms: str | None = "ce"
    """The terms of the lines that name none, if the user names none either; None if each line names its own."""
    rivals: int | None = None
    """The place of the label that lines share of which the best is printed in bold; None: all lines of a block."""


_MT, _ALONE = ("S_trn", "T_trn_MT"), ("S_trn",)
_BY_INFERENCE = (
    *(Line((LINES[name],), _MT, name) for name in ("T_tst", "S_tst_MT", "Ens")),
    Line((LINES["Ens_w"],), _MT, "Ens_w", optional=True),
)
_BY_LOSS = tuple(
    Line((label,), _MT, "Ens", terms)
    for label, terms in {
        "–": "ce",
        "L_sc": "ce+sc",
        "L_mu": "ce+mu",
        "L_sc + L_mu": "ce+mu+sc",
        "L": "ce+mu+sc+musc",
    }.items()
)
_ZSXL = Line(("ZSXL",), _ALONE, "T_tst")
_TRANSLATE_TEST = Line(("translate-test",), _ALONE, "S_tst_MT")

#: By its number in the paper. Table 2 has no figures there: here it compares the four algorithms by theirs.
TABLES = {
    2: Table(
        "The four algorithms.",
        ("Algorithm",),
        (
            _ZSXL,
            Line(("translate-train",), _MT, "T_tst"),
            _TRANSLATE_TEST,
            Line(("translate-all",), _MT, "Ens"),
        ),
        "all",
    ),
    3: Table("By inference; trained on S_trn & T_trn^MT.", ("Inference",), _BY_INFERENCE, "others"),
    4: Table(
        "By the kinds of text in training and inference; S_trn is in every training.",
        ("Training", "Inference"),
        tuple(
            Line((CORPORA[training].notation, LINES[inference]), ("S_trn", training), inference)
            for inference in ("T_tst", "S_tst_MT")
            for training in ("T_trn", "T_trn_BT")
        ),
        "others",
        rivals=1,
    ),
    5: Table(
        "Ens. by loss, of which L_ce is always a part; trained on S_trn & T_trn^MT.",
        ("Method",),
        _BY_LOSS,
        "others",
        terms=None,
    ),
    8: Table("XNLI by inference; trained on S_trn & T_trn^MT.", ("Inference",), _BY_INFERENCE, "apart"),
    9: Table(
        "XNLI, Ens. by loss, of which L_ce is always a part; trained on S_trn & T_trn^MT.",
        ("Method",),
        _BY_LOSS,
        "apart",
        terms=None,
    ),
}


class Cell(NamedTuple):
    """An accuracy over seeds."""

    mean: Fraction
    variance: Fraction | None
    """The sample variance; None for one seed."""

    @classmethod
    def over(cls, accuracies: Sequence[Fraction]) -> Cell:
        """The cell of one accuracy a seed."""
        middle = mean(accuracies)
        if len(accuracies) == 1:
            return cls(middle, None)
        return cls(middle, sum(((each - middle) ** 2 for each in accuracies), Fraction(0)) / (len(accuracies) - 1))


class FilledLine(NamedTuple):
    """A line with its runs."""

    line: Line
    runs: list[Run]
    """In the order of their seeds; empty if there are none."""
    cells: dict[str, Cell]
    """Language to accuracy; a language that some run lacks is missing."""
    average: Cell | None
    """None if a language of the block is missing."""
    paper: dict[str, str]
    """The paper's figures by language and ``average``; empty if they were not asked for."""


class Block(NamedTuple):
    """The lines of a data set."""

    dataset: str
    size: int | None
    """The number of training rows if it belongs to the name."""
    languages: list[str]
    rows: dict[str, int]
    """Language to the number of test rows."""
    lines: list[FilledLine]

    @property
    def title(self) -> str:
        """How the table calls the data set."""
        return title_of(self.dataset, self.size)


class FilledTable(NamedTuple):
    """A table before it is printed."""

    number: int
    terms: str | None
    blocks: list[Block]
    notes: list[str]
    unused: list[tuple[Run, str]]
    """The folders that belong to no line, and why."""

    @property
    def table(self) -> Table:
        """Its row in :data:`TABLES`."""
        return TABLES[self.number]

    @property
    def languages(self) -> list[str]:
        """The columns: every language of a block or, where they are shown, of the paper's figures in it."""
        shown = {language for block in self.blocks for language in block.languages}
        for block in self.blocks:
            shown.update(language for line in block.lines for language in line.paper if language != "average")
        return ordered(dict.fromkeys(shown))


class Accuracies(NamedTuple):
    """What a table takes from a run."""

    by_line: Mapping[str, Mapping[str, Fraction]]
    """As :attr:`fairseq_musc.evaluate.report.Results.accuracies`."""
    rows: Mapping[str, tuple[int, str]]
    """Language to what its test rows are: how many, and the SHA-256 of their ids and labels."""
    only_answers: Mapping[str, Mapping[str, str]]
    """As :attr:`fairseq_musc.evaluate.report.Results.only_answers`."""


def title_of(dataset: str, size: int | None) -> str:
    """How tables call a data set, e.g. ``MLDoc (1000)``."""
    name = NAMES.get(dataset, dataset)
    return name if size is None else f"{name} ({size})"


def accuracies_of(run: Run) -> Accuracies:
    """Reads and checks all tables of a folder.

    Raises:
        InputError: a table is damaged, or the tables do not go together.
    """
    tables = read_tables(run.folder)
    try:
        results = results_of(tables)
    except InputError as error:
        raise InputError(f"{run.folder}: {error}") from None
    rows = {}
    for cells in tables.values():
        for language, predictions in cells.items():
            names = predictions.signature.labels
            content = "\n".join(
                f"{row}\t{names[label]}" for row, label in zip(predictions.ids, predictions.labels, strict=True)
            )
            rows[language] = len(predictions.ids), hashlib.sha256(content.encode()).hexdigest()
    return Accuracies(results.accuracies, rows, results.only_answers)


def fill(
    number: int,
    runs: Sequence[Run],
    terms: str | None = None,
    paper: bool = False,
    read: Callable[[Run], Accuracies] = accuracies_of,
) -> FilledTable:
    """A table of the paper from runs.

    Args:
        number: a key of :data:`TABLES`.
        runs: every predictions folder at hand; those that belong to no line are listed in the result.
        terms: the terms of the loss instead of the paper's, for a table whose lines name none.
        paper: whether to put the paper's figures beside.
        read: gives the accuracies of a run; called once for each run that stands in a line.

    Raises:
        InputError: no run belongs to the table, a line has runs that differ in more than the seed or two checkpoints of
            one seed, the lines of a block are over other test rows, or the table has no such figures.
    """
    table = TABLES[number]
    if terms is not None and table.terms is None:
        raise InputError(f"the lines of Table {number} name their terms; leave --terms out")
    if paper and number not in PUBLISHED:
        raise InputError(f"Table {number} has no figures in the paper; leave --paper out")
    terms = terms or table.terms

    unused = [(run, why) for run in runs if (why := _why_unused(run, number, terms))]
    used = [run for run in runs if run not in [other for other, _ in unused]]
    if not used:
        found = [f"{run.folder}: {why}" for run, why in unused] or ["there are no predictions at all"]
        raise InputError.all_at_once(f"nothing belongs to Table {number}:", found)

    notes: list[str] = []
    sized = _sized(runs)
    groups: dict[tuple[str, int | None], list[Run]] = {}
    for run in used:
        dataset = run.signature.dataset
        groups.setdefault((dataset, run.size if dataset in sized else None), []).append(run)
    lines_of = {
        key: {line: _runs_of(line, group, terms, title_of(*key), notes) for line in table.lines}
        for key, group in groups.items()
    }
    check_lines(lines_of)

    in_lines = {run.folder: run for lines in lines_of.values() for of_line in lines.values() for run in of_line}
    by_folder = {run.folder: read(run) for run in with_progress([*in_lines.values()], "runs", "read")}
    names = list(NAMES)
    blocks = []
    for dataset, size in sorted(
        groups, key=lambda key: (names.index(key[0]) if key[0] in names else len(names), key[0], key[1] or 0)
    ):
        lines = lines_of[dataset, size]
        accuracies = {run.folder: by_folder[run.folder] for of_line in lines.values() for run in of_line}
        _check_rows(title_of(dataset, size), accuracies)
        figures = PUBLISHED[number].cells(dataset, size) if paper else {}
        block = _block(dataset, size, lines, accuracies, figures)
        notes += _of_only_answers(block, accuracies)
        notes += _notes(block, groups[dataset, size] + [run for run, _ in unused], terms, sized)
        blocks.append(block)
    if paper and terms != table.terms:
        notes.append(f"The paper's figures are of criterion.terms={table.terms}, those beside them of {terms}.")
    return FilledTable(number, terms, blocks, notes, unused)


def _mismatch(line: Line, run: Run, terms: str | None) -> tuple[int, str] | None:
    """Why a run does not belong to a line, and how near it came; None if it does."""
    training = run.training
    assert training is not None
    if set(training.corpora) != set(line.corpora) or training.paired != line.paired:
        return 0, f"trained on {corpora_of(training.corpora, training.paired)}"
    if set(training.terms.split("+")) != set((line.terms or terms or "").split("+")):
        return 1, f"trained with criterion.terms={training.terms}"
    if not run.targets(line.inference):
        return 2, f"no predictions of {LINES[line.inference]} in a target language"
    return None


def _why_unused(run: Run, number: int, terms: str | None) -> str | None:
    """Why a run belongs to no line of a table; None if it belongs to one."""
    table = TABLES[number]
    if run.training is None:
        return "its signatures do not say what was trained (version 0.1 predicted); predict again"
    dataset = run.signature.dataset
    if table.data != "all" and (dataset == APART) != (table.data == "apart"):
        other = {3: "Table 8", 5: "Table 9", 8: "Table 3", 9: "Table 5"}.get(number, "another table")
        return f"{title_of(dataset, None)} stands in {other}"
    found = [_mismatch(line, run, terms) for line in table.lines]
    if None in found:
        return None
    return max((mismatch for mismatch in found if mismatch), key=lambda mismatch: mismatch[0])[1]


def corpora_of(corpora: Collection[str], paired: bool) -> str:
    """Training corpora as messages call them."""
    named = " & ".join(CORPORA[name].notation if name in CORPORA else name for name in corpora)
    return f"{named} {'as pairs' if paired else 'not as pairs'}" if len(corpora) > 1 else named


def _sized(runs: Sequence[Run]) -> set[str]:
    """The data sets whose names need the number of training rows."""
    sizes: dict[str, set[int | None]] = {}
    for run in runs:
        if run.training is not None:
            sizes.setdefault(run.signature.dataset, set()).add(run.size)
    return {dataset for dataset, found in sizes.items() if len(found) > 1 or _has_sizes(dataset)}


def _has_sizes(dataset: str) -> bool:
    """Whether a data set is published with training sets of several sizes, as MLDoc is."""
    return dataset in DATASETS and bool(DATASETS[dataset].sizes)


def _runs_of(line: Line, runs: Sequence[Run], terms: str | None, title: str, notes: list[str]) -> list[Run]:
    """The runs of a line in the order of their seeds, copies left out; notes say what was decided on the way."""
    found = [run for run in runs if _mismatch(line, run, terms) is None]
    if line in (_ZSXL, _TRANSLATE_TEST):
        found = _of_one_encoder(line, found, title, notes)
    kept: dict[tuple[object, ...], Run] = {}
    for run in found:
        tables = tuple(sorted(run.sha256[line.inference].items()))
        first = kept.setdefault((run.signature.checkpoint_sha256, run.signature.seed, tables), run)
        if first is not run:
            notes.append(f"{title}, {line.label}: {run.folder} holds the same as {first.folder} and counts once.")
    return sorted(kept.values(), key=lambda run: run.signature.seed)


def _of_one_encoder(line: Line, runs: Sequence[Run], title: str, notes: list[str]) -> list[Run]:
    """The runs on S_trn alone that are ZSXL's or translate-test's.

    Both algorithms train alike, so a run serves the line whose predictions it has, and both lines if it has both. If
    that brings two encoders into one line (a multilingual one and an English one), the line is of those encoders that
    have runs with its own predictions and not the other's.
    """
    other = _TRANSLATE_TEST if line is _ZSXL else _ZSXL
    alone = {_encoder(run) for run in runs if not run.targets(other.inference)}
    if len({_encoder(run) for run in runs}) > 1 and alone:
        runs = [run for run in runs if _encoder(run) in alone]
    if line is _TRANSLATE_TEST:
        both = sorted({_encoder(run) for run in runs if run.targets(other.inference)})
        notes += [f"{title}, {line.label}: the encoder is {name}, which predicts T_tst too." for name in both]
    return list(runs)


def _encoder(run: Run) -> str:
    assert run.training is not None
    return run.training.encoder


def settings_of(training: Training) -> dict[str, str]:
    """What runs of one line have in common, as tables and messages print it."""
    return {
        "lr": f"{training.lr:g}",
        "lambda": f"{training.lam:g}",
        "normalisation": training.normalisation,
        "encoder": training.encoder,
        "translator of the training corpora": ", ".join(training.translators) or "none",
    }


def check_lines(lines_of: Mapping[tuple[str, int | None], Mapping[Line, Sequence[Run]]]) -> None:
    """Raises :class:`InputError` unless the runs of each line differ in their seeds, and in nothing else."""
    problems: dict[str, list[str]] = {}
    for key, lines in lines_of.items():
        for line, runs in lines.items():
            where = f"{title_of(*key)}, {line.label}"
            if different := _differences(line, runs):
                listed = "".join(f"\n      {problem}" for problem in different)
                problems.setdefault(f"its {len(runs)} runs differ in more than the seed:{listed}", []).append(where)
                continue
            for seed, group in groupby(runs, key=lambda run: run.signature.seed):
                if len(same := list(group)) > 1:
                    named = " and ".join(f"{run.folder} ({checkpoint_of(run.signature)})" for run in same)
                    problems.setdefault(f"there are two of seed {seed}: {named}", []).append(where)
    if problems:
        raise InputError.all_at_once(
            "a line takes one run of each seed and one setting; name narrower --predictions folders:",
            [f"{'; '.join(where)}: {problem}" for problem, where in problems.items()],
        )


def _differences(line: Line, runs: Sequence[Run]) -> list[str]:
    """In what, other than the seed, runs differ: each value with its folders."""
    columns: dict[str, dict[Path, str]] = {}
    for run in runs:
        training = run.training
        assert training is not None
        values = settings_of(training) | {f"rows of {name}": str(rows) for name, rows in training.rows.items()}
        values |= {key: str(value) for key, value in run.told.items()}
        for language, signature in run.signatures[line.inference].items():
            what = f"{line.inference}.{language}"
            values[f"labels of {what}"] = ", ".join(signature.labels)
            values[f"translator of {what}"] = signature.translator or "none"
            if line.inference == "Ens":  # Ens_w: weights are chosen anew for every checkpoint
                values[f"weights of {what}"] = mixture(signature.members)
        for name, value in values.items():
            columns.setdefault(name, {})[run.folder] = value
    found = []
    for name, by_folder in columns.items():
        if name.startswith("rows of "):  # a corpus that a run was not trained on; a missing table is said elsewhere
            by_folder = {run.folder: by_folder.get(run.folder, "0") for run in runs}
        folders: dict[str, list[str]] = {}
        for folder, value in by_folder.items():
            folders.setdefault(value, []).append(str(folder))
        if len(folders) > 1:
            found.append(f"{name}: " + "; ".join(f"{value} in {', '.join(where)}" for value, where in folders.items()))
    return found


def _check_rows(title: str, accuracies: Mapping[Path, Accuracies]) -> None:
    """Raises :class:`InputError` unless all runs of a block predict the same rows in each language."""
    problems = []
    for language in ordered({language: None for each in accuracies.values() for language in each.rows}):
        folders: dict[str, list[str]] = {}
        for folder, each in accuracies.items():
            if language in each.rows:
                count, digest = each.rows[language]
                folders.setdefault(f"{count} rows (SHA-256 {digest[:12]})", []).append(str(folder))
        if len(folders) > 1:
            problems.append(f"{language}: " + "; ".join(f"{rows} in {where[0]}" for rows, where in folders.items()))
    if problems:
        raise InputError.all_at_once(
            f"the accuracies on {title} are over different test rows and cannot stand in one block; predict again on "
            "one reading of the data, or name narrower --predictions folders:",
            problems,
        )


def _block(
    dataset: str,
    size: int | None,
    lines: Mapping[Line, Sequence[Run]],
    accuracies: Mapping[Path, Accuracies],
    figures: Mapping[tuple[str, ...], dict[str, str]],
) -> Block:
    """The accuracies of a block over the seeds of each line."""
    of_line = {
        line: [accuracies[run.folder].by_line[line.inference] for run in runs]
        for line, runs in lines.items()
        if runs or not line.optional
    }
    languages = ordered({language: None for seeds in of_line.values() for seed in seeds for language in seed})
    filled = []
    for line, seeds in of_line.items():
        whole = [language for language in languages if seeds and all(language in seed for seed in seeds)]
        cells = {language: Cell.over([seed[language] for seed in seeds]) for language in whole}
        averages = [mean([seed[language] for language in languages]) for seed in seeds if whole == languages]
        average = Cell.over(averages) if averages else None
        filled.append(FilledLine(line, list(lines[line]), cells, average, figures.get(line.labels, {})))
    counts = {language: each.rows[language][0] for each in accuracies.values() for language in each.rows}
    return Block(dataset, size, languages, {language: counts[language] for language in languages}, filled)


def _of_only_answers(block: Block, accuracies: Mapping[Path, Accuracies]) -> list[str]:
    """Which lines of a block have one answer to all rows, with which seeds."""
    notes = []
    for filled in block.lines:
        seeds: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for run in filled.runs:
            if found := accuracies[run.folder].only_answers.get(filled.line.inference):
                seeds.setdefault(tuple(found.items()), []).append(str(run.signature.seed))
        for answers, of in seeds.items():
            named = f"seed{'s' * (len(of) > 1)} {', '.join(of)}"
            notes.append(only_answer_note(f"{block.title}, {filled.line.label}, {named}", dict(answers)))
    return notes


def _notes(block: Block, runs: Sequence[Run], terms: str | None, sized: Collection[str]) -> list[str]:
    """What is missing in a block, and which runs would fill it."""
    notes = []
    for filled in block.lines:
        line = filled.line
        where = f"{block.title}, {line.label}"
        near = [
            str(run.folder)
            for run in runs
            if run.training is not None
            and (run.signature.dataset, run.size if run.signature.dataset in sized else None)
            == (block.dataset, block.size)
            and (_mismatch(line, run, terms) or (0, ""))[0] == 2
            and line not in (_ZSXL, _TRANSLATE_TEST)
        ]
        if near:
            notes.append(f"{where}: {', '.join(near)} hold{'s' * (len(near) == 1)} no {LINES[line.inference]} yet.")
        elif not filled.runs:
            notes.append(
                f"{where}: no runs; needed is {LINES[line.inference]} of a run on "
                f"{corpora_of(line.corpora, line.paired)} with criterion.terms={line.terms or terms}."
            )
        if filled.runs and (lacking := [language for language in block.languages if language not in filled.cells]):
            names = ", ".join(language.upper() for language in lacking)
            notes.append(f"{where}: no average, for want of predictions in {names}.")
    seeds = {filled.line.label: [run.signature.seed for run in filled.runs] for filled in block.lines if filled.runs}
    if len({tuple(each) for each in seeds.values()}) > 1:
        listed = "; ".join(f"{label} {', '.join(map(str, each))}" for label, each in seeds.items())
        notes.append(f"{block.title}: the lines are over different seeds: {listed}.")
    figures = {language for filled in block.lines for language in filled.paper} - {"average", *block.languages}
    if figures:
        names = ", ".join(language.upper() for language in ordered(dict.fromkeys(figures)))
        notes.append(
            f"{block.title}: the paper's averages are also over {names}, in which there are no predictions here."
        )
    return notes


def signature_lines(filled: FilledTable) -> list[str]:
    """What each line can be traced back to: first what is the same for all, then what lines of the same runs have."""
    traced: dict[str, dict[str, str]] = {}
    for block in filled.blocks:
        by_runs: dict[tuple[Path, ...], list[FilledLine]] = {}
        for line in block.lines:
            if line.runs:
                by_runs.setdefault(tuple(run.folder for run in line.runs), []).append(line)
        for lines in by_runs.values():
            traced[f"{block.title}, {'; '.join(line.line.label for line in lines)}"] = _traced(block, lines)
    first, *others = traced.values()
    common = {
        name: value
        for name, value in first.items()
        if name not in ("seeds", "checkpoints") and all(other.get(name) == value for other in others)
    }
    signature = [f"{name}: {value}" for name, value in common.items()]
    for where, parts in traced.items():
        own = [f"{name} {value}" for name, value in parts.items() if name not in common]
        signature.append(f"{where}: {'; '.join(own)}")
    return signature


def _traced(block: Block, lines: Sequence[FilledLine]) -> dict[str, str]:
    """What lines that share their runs depend on."""
    runs = lines[0].runs
    training = runs[0].training
    assert training is not None
    tables = [signature for run in runs for line in lines for signature in run.signatures[line.line.inference].values()]
    mixtures = sorted({mixture(each.members) for each in tables if len(each.members) > 1 and each.corpus == "Ens"})
    counts = set(block.rows.values())
    each_count = ", ".join(f"{language.upper()} {count}" for language, count in block.rows.items())
    parts = {
        "dataset": block.dataset,
        "rows of S_trn": str(runs[0].size or ""),
        "test rows": str(counts.pop()) if len(counts) == 1 else each_count,
        "criterion.terms": training.terms,
        **{name: value for name, value in settings_of(training).items() if value != "none"},
        "translator of S_tst^MT": ", ".join(sorted({each.translator for each in tables if each.translator})),
        "warning": mismatch(training.translators, (each.translator for each in tables), "predicting") or "",
        "Ens.": ", ".join(mixtures),
        "version": "fairseq-musc " + ", ".join(sorted({signature.version for signature in tables})),
        "seeds": ", ".join(str(run.signature.seed) for run in runs),
        "checkpoints": ", ".join(
            f"{run.signature.checkpoint_sha256[:12]} (update {run.signature.update})" for run in runs
        ),
    }
    return {name: value for name, value in parts.items() if value}
