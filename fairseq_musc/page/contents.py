"""What stands on the page: everything is counted here, and only laid out by the template."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from fairseq_musc.data.corpus import CorpusFile
from fairseq_musc.evaluate.calibrate import reliability as pooled_bins
from fairseq_musc.evaluate.calibrate import sheet_of as calibration_sheet
from fairseq_musc.evaluate.calibration import BINS
from fairseq_musc.evaluate.ensemble import checkpoint_of
from fairseq_musc.evaluate.figure import COLOURS, panels_of
from fairseq_musc.evaluate.layout import NOTHING, Cell, Sheet, number, text
from fairseq_musc.evaluate.report import LINES, mixture, percent
from fairseq_musc.evaluate.table import ENSEMBLES, Predictions, notation
from fairseq_musc.files import sha256
from fairseq_musc.page import charts
from fairseq_musc.page.charts import Intervals, LineChart, Reliability, Scatter, Series
from fairseq_musc.page.examples import Examples, examples_of
from fairseq_musc.page.groups import (
    AccuracyLine,
    Compared,
    Estimate,
    Group,
    LoadedRun,
    NotCompared,
    accuracy_line,
    against_the_first,
    ensemble_against_members,
    rows_by_language,
)
from fairseq_musc.page.training_log import Log
from fairseq_musc.progress import with_progress

#: The points of a curve, and the lines of the table behind it, at most.
POINTS = 60
#: Groups that are told apart by colour; on a page with more, charts show the first ones, and tables all.
COLOURED = 6
#: What the terms of the loss are, in the order of the charts.
TERMS = {
    "loss": "L, the weighted sum",
    "L_ce": "L_ce, cross-entropy",
    "L_mu": "L_mu, MixUp",
    "L_sc": "L_sc, SupCon",
    "L_musc": "L_musc, MUSC",
}
#: What validation logs, in the order of the charts.
ON_VALIDATION = {
    "accuracy": "Accuracy",
    "accuracy_Ens": "Accuracy, Ens.",
    "accuracy_T_val": f"Accuracy, {notation('T_val')}",
    "accuracy_S_val_MT": f"Accuracy, {notation('S_val_MT')}",
    "loss": "Cross-entropy",
}


class Figure(NamedTuple):
    """A number as it is printed, what is printed small beside it, and itself."""

    shown: str
    beside: str
    exact: str


class AccuracyRow(NamedTuple):
    """A row of the table of accuracies."""

    line: str
    ensemble: bool
    cells: list[Figure | None]
    """For each language, and the average behind them."""


class AccuracyBlock(NamedTuple):
    """The rows of a group."""

    name: str
    rows: list[AccuracyRow]


class Accuracies(NamedTuple):
    """The section on accuracies."""

    languages: list[str]
    counts: list[str]
    """The test rows of each language."""
    blocks: list[AccuracyBlock]
    chart: Intervals
    legend: list[str]
    chart_of: str
    """What the chart shows."""
    left_out: int
    """Groups that the chart has no room for."""


class Tile(NamedTuple):
    """A headline number."""

    label: str
    value: str
    beside: str
    note: str


class ComparedRow(NamedTuple):
    """A comparison, on average and by language."""

    first: str
    second: str
    difference: Figure
    verdict: str
    first_only: int
    second_only: int
    p: str
    tested: str
    """What the test is over."""
    by_language: Sheet


class CurveChart(NamedTuple):
    """Learning curves of one logged figure."""

    title: str
    unit: str
    chart: LineChart
    table: Sheet
    together: int
    """How many logged values a point is the mean of, at most."""


class Curves(NamedTuple):
    """The section on learning curves."""

    training: list[CurveChart]
    validation: list[CurveChart]
    legend: list[tuple[int, int, str]]
    """Colour, dashes and name."""
    notes: list[str]


class ReliabilityPanel(NamedTuple):
    """A reliability diagram."""

    title: str
    ece: str
    chart: Reliability
    table: Sheet


class Detail(NamedTuple):
    """What is shown of one run: Figure 1, calibration and examples."""

    name: str
    run: str
    scatters: list[Scatter]
    no_scatter: str
    """Why Figure 1 is missing; empty if it is there."""
    counts: Sheet | None
    calibration: Sheet
    reliability: list[ReliabilityPanel]
    examples: Examples | None


class Provenance(NamedTuple):
    """What a run can be traced back to."""

    name: str
    facts: list[tuple[str, str]]
    tables: Sheet
    corpora: list[tuple[str, str]]
    """Name and provenance of each corpus whose texts are shown."""


class Contents(NamedTuple):
    """The page."""

    title: str
    dataset: str
    labels: list[str]
    summary: list[str]
    """What all groups have in common, a fact each."""
    single: bool
    """Whether there is one group."""
    tiles: list[Tile]
    accuracies: Accuracies
    comparisons: list[ComparedRow]
    not_compared: list[NotCompared]
    curves: Curves
    details: list[Detail]
    provenance: list[Provenance]
    members: list[str]
    """What the ensembles are."""


def contents_of(
    groups: Sequence[Group],
    title: str | None,
    logs: Mapping[Path, Log],
    corpora: Mapping[Path, Mapping[tuple[str, str], CorpusFile]],
    most_examples: int,
) -> Contents:
    """Counts everything on the page.

    Args:
        groups: in their order; the others are compared with the first.
        title: of the page; one is made if None.
        logs: the log of a predictions folder, where there is one.
        corpora: the texts of a predictions folder by corpus and language, where they are to be shown.
        most_examples: for each language and kind.
    """
    lines = {
        group.name: [accuracy_line(group, line) for line in group.lines]
        for group in with_progress(groups, "settings", "count")
    }
    within = {group.name: ensemble_against_members(group) for group in groups}
    between = against_the_first(groups)
    compared = [each for each in between if isinstance(each, Compared)]
    compared += [
        each if len(groups) == 1 else each._replace(first=f"{each.first} of {group.name}")
        for group in groups
        for each in within[group.name]
    ]
    dataset = groups[0].first.signature.dataset
    made = f"{groups[0].name}, {groups[0].seeds}" if len(groups) == 1 else f"{len(groups)} settings compared"
    return Contents(
        title=title or f"{dataset}: {made}",
        dataset=dataset,
        labels=list(groups[0].first.signature.labels),
        summary=summary_of(groups),
        single=len(groups) == 1,
        tiles=tiles_of(lines[groups[0].name], within[groups[0].name]) if len(groups) == 1 else [],
        accuracies=accuracies_of(groups, lines),
        comparisons=[compared_row(each) for each in compared],
        not_compared=[each for each in between if isinstance(each, NotCompared)],
        curves=curves_of(groups, logs),
        details=[
            detail_of(group, corpora.get(group.first.folder, {}), most_examples)
            for group in with_progress(groups, "settings", "draw")
        ],
        provenance=[
            provenance_of(group, run, logs.get(run.folder), corpora.get(run.folder, {}))
            for group in groups
            for run in group.runs
        ],
        members=members_of(groups),
    )


def rounded(share: float) -> str:
    """A share in %, with one decimal as in all tables: halves rounded up."""
    return percent(Fraction(share).limit_denominator(10**9))


def from_to(counts: Sequence[int]) -> str:
    """The lowest and the highest of rising numbers, or the one that there is."""
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def points(difference: float) -> str:
    """A difference of shares in points, signed."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def p_value(p: float) -> str:
    """A p-value, never as 0."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


# --- accuracies ------------------------------------------------------------------------------------------------------


def summary_of(groups: Sequence[Group]) -> list[str]:
    """What stands below the title."""
    rows = rows_by_language(groups)
    told = from_to(sorted({count for counts in rows.values() for count in counts}))
    runs = sum(len(group.runs) for group in groups)
    facts = [
        f"{len(rows)} language{'s' * (len(rows) > 1)}",
        f"{told} test rows each" if len(rows) > 1 else f"{told} test rows",
        f"{runs} checkpoint{'s' * (runs > 1)}",
    ]
    trainings = [group.first.run.training for group in groups]
    corpora = {
        f"trained on {' & '.join(notation(name) for name in training.corpora)}" for training in trainings if training
    }
    encoders = {f"encoder {training.encoder}" for training in trainings if training}
    translators = {
        f"test data translated by {table.signature.translator}"
        for group in groups
        for cells in group.first.tables.values()
        for table in cells.values()
        if table.signature.translator and not table.signature.members
    }
    return facts + [fact for shared in (corpora, encoders, translators) if len(shared) == 1 for fact in shared]


def members_of(groups: Sequence[Group]) -> list[str]:
    """What each ensemble is the mean of."""
    found = {
        f"{LINES[line]} = {mixture(table.signature.members)}"
        for group in groups
        for line, cells in group.first.tables.items()
        for table in cells.values()
        if len(table.signature.members) > 1
    }
    return sorted(found)


def figure_of(estimate: Estimate) -> Figure:
    """An accuracy with its interval, and with its spread over seeds."""
    beside = f"{rounded(estimate.low)}–{rounded(estimate.high)}"
    if estimate.spread is not None:
        beside += f", ± {rounded(estimate.spread)}"
    return Figure(rounded(estimate.value), beside, repr(estimate.value))


def accuracies_of(groups: Sequence[Group], lines: Mapping[str, Sequence[AccuracyLine]]) -> Accuracies:
    """The table and the chart of accuracies."""
    counts = rows_by_language(groups)
    languages = list(counts)
    # An average over fewer languages than stand there is another figure: as in all tables it is missing.
    whole = {group.name for group in groups if set(group.languages) == set(languages)}
    lines = {
        name: [line if name in whole else line._replace(average=None) for line in of_group]
        for name, of_group in lines.items()
    }
    blocks = [
        AccuracyBlock(
            f"{group.name} ({group.seeds})",
            [
                AccuracyRow(
                    LINES[line.line],
                    line.line in ENSEMBLES,
                    [
                        figure_of(estimate) if estimate else None
                        for estimate in (*(line.cells.get(language) for language in languages), line.average)
                    ],
                )
                for line in lines[group.name]
            ],
        )
        for group in groups
    ]
    if len(groups) == 1:
        shown, chart_of = list(lines[groups[0].name]), "Accuracy in %"
        legend = [LINES[line.line] for line in shown]
    else:
        line = next((name for name in LINES if all(name in group.lines for group in groups)), None)
        line = "Ens" if all("Ens" in group.lines for group in groups) else line
        drawn = [group for group in groups if line is None or line in group.lines][:COLOURED]
        shown = [
            next((each for each in lines[group.name] if each.line == line), lines[group.name][-1]) for group in drawn
        ]
        chart_of = f"Accuracy of {LINES[line]} in %" if line else "Accuracy in %, of the last line of each"
        legend = [group.name for group in drawn]

    def ends(estimate: Estimate | None) -> tuple[float, float, float] | None:
        return estimate and estimate[:3]

    by_name = {language.upper(): [ends(line.cells.get(language)) for line in shown] for language in languages}
    if len(languages) > 1:
        by_name["Avg."] = [ends(line.average) for line in shown]
    return Accuracies(
        languages,
        [from_to(of_language) for of_language in counts.values()],
        blocks,
        charts.intervals(by_name),
        legend,
        chart_of,
        max(0, len(groups) - COLOURED) if len(groups) > 1 else 0,
    )


def tiles_of(lines: Sequence[AccuracyLine], compared: Sequence[Compared]) -> list[Tile]:
    """The headline numbers of one group: averages, and what the ensemble adds."""
    tiles = [
        Tile(LINES[line.line], rounded(line.average.value), "%", f"95% interval {figure_of(line.average).beside}")
        for line in lines
        if line.average is not None
    ]
    for each in compared:
        if (each.first, each.second) == (LINES["Ens"], LINES["T_tst"]):
            row = compared_row(each)
            note = f"95% interval {row.difference.beside}; {row.verdict}"
            tiles.append(Tile(f"{each.first} less {each.second}", row.difference.shown, "points", note))
    return tiles


# --- comparisons -----------------------------------------------------------------------------------------------------


def compared_row(compared: Compared) -> ComparedRow:
    """A comparison as it is printed."""
    result = compared.result
    average = result.average
    test, tested = (result.ids, "ids") if result.ids is not None else (result.pooled, "rows")
    if average.low > 0:
        verdict = "above 0"
    elif average.high < 0:
        verdict = "below 0"
    else:
        verdict = "includes 0"
    return ComparedRow(
        compared.first,
        compared.second,
        Figure(
            points(average.first - average.second),
            f"{points(average.low)} to {points(average.high)}",
            repr(average.first - average.second),
        ),
        verdict,
        test.first_only,
        test.second_only,
        p_value(test.p),
        tested,
        _by_language(compared),
    )


def _by_language(compared: Compared) -> Sheet:
    result = compared.result
    header = [text(name) for name in ("Language", "rows", "first", "second", "difference", "95% from", "to")]
    header += [text(name) for name in ("only first", "only second", "p", "p (Holm)")]
    rows = []
    for language, line in result.lines.items():
        test, corrected = result.tests[language], result.corrected.get(language)
        rows.append(
            [
                text(language.upper()),
                text(f"{compared.rows[language]:,}"),
                *(Cell(rounded(share), repr(share)) for share in (line.first, line.second)),
                *(Cell(points(share), repr(share)) for share in (line.first - line.second, line.low, line.high)),
                text(f"{test.first_only:,}"),
                text(f"{test.second_only:,}"),
                NOTHING if corrected is None else Cell(p_value(test.p), repr(test.p)),
                NOTHING if corrected is None else Cell(p_value(corrected), repr(corrected)),
            ]
        )
    notes = []
    if compared.seeds:
        told = ", ".join(
            f"{points(difference)} (seed {seed})"
            for seed, difference in zip(compared.seeds, result.by_seed, strict=True)
        )
        notes.append(f"Difference on average by seed: {told}.")
    drawn = "ids, each with its rows in all languages" if compared.shared else "rows within each language"
    notes.append(f"The bootstrap drew {drawn}.")
    return Sheet(f"{compared.first} against {compared.second}: accuracy in %, by language", header, rows, notes)


# --- learning curves -------------------------------------------------------------------------------------------------


def curves_of(groups: Sequence[Group], logs: Mapping[Path, Log]) -> Curves:
    """The charts of all runs that have a log."""
    only = 2 if len(groups) == 1 else None  # in the colour that the ensemble has elsewhere
    runs = [
        (only or place, dash, f"{group.name}, seed {run.signature.seed}" if len(group.runs) > 1 else group.name, run)
        for place, group in enumerate(groups)
        for dash, run in enumerate(group.runs)
    ]
    logged = [each for each in runs if each[3].folder in logs]
    drawn = [each for each in logged if each[0] < COLOURED]
    notes = [f"There is no log of {name}." for _, _, name, run in runs if run.folder not in logs] if logged else []
    if len(drawn) < len(logged):
        notes.append(f"The charts show the first {COLOURED} settings; {len(logged) - len(drawn)} runs are left out.")

    accuracies = (
        value
        for *_, run in drawn
        for key, curve in logs[run.folder].curves.validation.items()
        if key.startswith("accuracy")
        for _, value in curve
    )
    accuracy_span = charts.value_span(accuracies, percent=True)

    def chart(kind: str, key: str, title: str, unit: str) -> CurveChart | None:
        curves, table, together = [], {}, 1
        for place, dash, name, run in drawn:
            curve = getattr(logs[run.folder].curves, kind).get(key)
            if not curve:
                continue
            few, each = charts.thinned(curve, POINTS) if kind == "training" else (curve, 1)
            curves.append(Series(place, dash, few, run.signature.update if kind == "validation" else None))
            table[name] = dict(few)
            together = max(together, each)
        if not curves:
            return None
        updates = sorted({update for column in table.values() for update in column})
        sheet = Sheet(
            f"{title}, in {unit}",
            [text("Update"), *map(text, table)],
            [
                [
                    text(f"{update:,}"),
                    *(number(column[update], ".5g") if update in column else NOTHING for column in table.values()),
                ]
                for update in updates
            ],
            [],
        )
        span = accuracy_span if unit == "%" else None  # the same axis for all, so that they can be compared
        return CurveChart(title, unit, charts.line_chart(curves, span), sheet, together)

    def charts_of(kind: str, known: Mapping[str, str]) -> list[CurveChart]:
        there = {key: None for *_, run in drawn for key in getattr(logs[run.folder].curves, kind)}
        if "accuracy_Ens" in there:
            there.pop("accuracy", None)  # the same figures: the best checkpoint is chosen by the ensemble
        keys = [key for key in known if key in there] + [key for key in there if key not in known]
        titles: dict[str, str] = {**{key: key for key in keys}, **of_languages(keys), **known}
        made = (chart(kind, key, titles[key], "nats" if key == "loss" or key.startswith("L_") else "%") for key in keys)
        return [each for each in made if each is not None]

    return Curves(
        charts_of("training", TERMS),
        charts_of("validation", ON_VALIDATION),
        [(place, dash, name) for place, dash, name, _ in drawn],
        notes,
    )


def of_languages(keys: Iterable[str]) -> dict[str, str]:
    """The titles of the accuracies that validation logs for each language."""
    ensemble = ON_VALIDATION["accuracy_Ens"]
    return {key: f"{ensemble}, {key.removeprefix('accuracy_').upper()}" for key in keys if key.startswith("accuracy_")}


# --- Figure 1, calibration, examples ---------------------------------------------------------------------------------


def detail_of(group: Group, corpora: Mapping[tuple[str, str], CorpusFile], most_examples: int) -> Detail:
    """What is shown of the first run of a group."""
    run = group.first
    scatters, no_scatter, counts, examples = [], "", None, None
    complete = {"T_tst", "S_tst_MT", "Ens"} <= set(run.tables)
    if complete and len(group.languages) > 1:
        panels = panels_of(run.tables)
        scatters = [charts.scatter(name, panel) for name, panel in panels.items()]
        counts = Sheet(
            "Rows by colour",
            [text("Language"), text("rows"), *map(text, COLOURS)],
            [
                [text(each.name if each.name == "all" else each.name.upper()), text(f"{each.rows:,}")]
                + [text(f"{count:,}") for count in each.counts.values()]
                for each in scatters
            ],
            [],
        )
        examples = examples_of(run.tables, most_examples, corpora)
    else:
        no_scatter = "It needs predictions on T_tst and S_tst^MT and their ensemble, in a language that is translated."
    with_english = _with_untranslated(run)
    calibration = calibration_sheet(with_english, BINS)
    return Detail(
        group.name,
        f"seed {run.signature.seed}" if len(group.runs) > 1 else "",
        scatters,
        no_scatter,
        counts,
        calibration._replace(notes=calibration.notes[:1]),  # the others are the signature, which the page has
        reliability_panels(with_english),
        examples,
    )


def _with_untranslated(run: LoadedRun) -> dict[str, dict[str, Predictions]]:
    """The tables of a run, T_tst in English standing in every line."""
    english = run.tables.get("T_tst", {}).get("en")
    return {
        line: ({"en": english} if english is not None else {}) | cells for line, cells in run.tables.items() if cells
    }


def reliability_panels(tables: Mapping[str, Mapping[str, Predictions]]) -> list[ReliabilityPanel]:
    """A reliability diagram for each line, over the rows of all languages together."""
    panels = []
    for line, (bins, ece) in pooled_bins(tables, BINS).items():
        table = Sheet(
            f"{LINES[line]}: rows by their top probability",
            [text(name) for name in ("Probability", "rows", "mean probability", "accuracy")],
            [
                [
                    text(f"{place / BINS:.2f}–{(place + 1) / BINS:.2f}"),
                    text(f"{rows:,}"),
                    number(confidence, ".3f"),
                    number(accuracy, ".3f"),
                ]
                for place, (rows, confidence, accuracy) in enumerate(zip(*map(list, bins), strict=True))
                if rows
            ],
            [],
        )
        panels.append(ReliabilityPanel(LINES[line], f"{100 * ece:.1f}", charts.reliability(bins), table))
    return panels


# --- provenance ------------------------------------------------------------------------------------------------------


def provenance_of(
    group: Group, run: LoadedRun, log: Log | None, corpora: Mapping[tuple[str, str], CorpusFile]
) -> Provenance:
    """The signature of a run and of every table of it."""
    signature, training = run.signature, run.run.training
    facts = [
        ("predictions", str(run.folder)),
        ("data set", signature.dataset),
        ("labels", ", ".join(signature.labels)),
        ("checkpoint", checkpoint_of(signature)),
        ("SHA-256 of the checkpoint", signature.checkpoint_sha256),
        ("seed", str(signature.seed)),
    ]
    if training is not None:
        facts += [
            ("trained on", ", ".join(f"{name} ({rows:,} rows)" for name, rows in training.rows.items())),
            ("as pairs", "yes" if training.paired else "no"),
            ("criterion.terms", training.terms),
            ("λ", f"{training.lam:g}"),
            ("learning rate", f"{training.lr:g}"),
            ("normalisation", training.normalisation),
            ("encoder", training.encoder),
            ("translator of the training data", ", ".join(training.translators) or "none"),
        ]
    if log is not None:
        facts.append(("training log", str(log.path)))
        if log.path.is_file():
            facts.append(("SHA-256 of the training log", sha256(log.path)))
    tables = Sheet(
        "Every predictions table",
        [
            text(name)
            for name in ("Table", "rows", "SHA-256", "translator", "SHA-256 of the corpus, or members", "fairseq-musc")
        ],
        [
            [
                text(table.name),
                text(f"{len(table.ids):,}"),
                text(run.run.sha256[line][language]),
                text(table.signature.translator or "–"),
                text(_made_from(table)),
                text(table.signature.version),
            ]
            for line, cells in run.tables.items()
            for language, table in cells.items()
        ],
        [],
    )
    return Provenance(
        f"{group.name}, seed {signature.seed}" if len(group.runs) > 1 else group.name,
        facts,
        tables,
        [
            (f"{name}.{language}", json.dumps(corpus.about["provenance"], ensure_ascii=False, indent=1))
            for (name, language), corpus in corpora.items()
        ],
    )


def _made_from(table: Predictions) -> str:
    """The checksum of the corpus that was predicted, or the members of an ensemble with those of their tables."""
    signature = table.signature
    members = [
        f"{weight:g} × {member} ({signature.member_sha256.get(member, 'unknown')[:12]})"
        for member, weight in signature.members.items()
    ]
    return " + ".join(members) or signature.corpus_sha256 or "unknown"
