"""Two rows of a table, compared: which rows are drawn together, what the test counts, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import bootstrap
from test_ensemble import table

from fairseq_musc.cli import main
from fairseq_musc.evaluate.significance import mcnemar
from fairseq_musc.evaluate.table import read_predictions, write_predictions

ROWS = 60


def compare(*arguments):
    return main(["compare", *map(str, arguments)])


def lines_of(path):
    """The TSV: the name of a line to its cells by column, and the notes."""
    lines = path.with_name(path.name + ".tsv").read_text().splitlines()
    header, *rows = (line.split("\t") for line in lines if not line.startswith("# "))
    notes = [line[2:] for line in lines if line.startswith("# ")]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}, notes


def numbers(line, *columns):
    return [float(line[column]) for column in columns]


def write_row(folder, corpus, right, classes, **other):
    """Tables whose rows are right where ``right[language]`` says so."""
    for language, is_right in right.items():
        second = np.where(is_right, classes[language], 1 - classes[language])
        write_predictions(folder, table(corpus, 0.1 + 0.8 * second, classes[language], language, **other))


def drawn(seed, share, languages=("en", "de", "ja"), rows=ROWS):
    generator = np.random.default_rng(seed)
    return {language: generator.random(rows) < share for language in languages}


@pytest.fixture
def labels():
    """The same ids and labels in every language, as in PAWS-X."""
    return dict.fromkeys(("en", "de", "ja"), np.random.default_rng(0).integers(2, size=ROWS))


@pytest.fixture
def folder(tmp_path, labels):
    """T_tst in three languages, Ens with the same English."""
    first, second = drawn(1, 0.8), drawn(2, 0.6)
    first["en"] = second["en"]
    write_row(tmp_path, "Ens", first, labels)
    write_row(tmp_path, "T_tst", second, labels)
    return tmp_path, first, second


def test_two_rows_of_one_table(folder, capsys):
    predictions, first, second = folder
    assert compare("--first", predictions, "--corpora", "Ens", "T_tst", "--output", predictions / "out") == 0
    lines, _ = lines_of(predictions / "out")
    assert list(lines) == ["en", "de", "ja", "average", "pooled", "ids"]
    for language in ("en", "de", "ja"):
        a, b = first[language], second[language]
        line = lines[language]
        assert numbers(line, "first", "second") == pytest.approx([a.mean(), b.mean()])
        assert float(line["difference"]) == pytest.approx(a.mean() - b.mean())
        counts = (a & ~b).sum(), (b & ~a).sum()
        assert [int(line["only_first"]), int(line["only_second"])] == list(counts)
        assert float(line["p_mcnemar"]) == pytest.approx(mcnemar(*map(int, counts)))
    assert numbers(lines["average"], "first", "second") == pytest.approx(
        [np.mean([first[lang].mean() for lang in first]), np.mean([second[lang].mean() for lang in second])]
    )
    assert int(lines["pooled"]["only_first"]) == sum(int(lines[lang]["only_first"]) for lang in first)
    assert (lines["pooled"]["rows"], lines["ids"]["rows"]) == ("180", "60")
    # English is the same predictions: no difference, and not one of the tests that Holm counts.
    assert numbers(lines["en"], "difference", "low", "high", "p_mcnemar") == [0, 0, 0, 1]
    assert lines["en"]["p_holm"] == ""
    p = sorted(float(lines[language]["p_mcnemar"]) for language in ("de", "ja"))
    held = sorted(float(lines[language]["p_holm"]) for language in ("de", "ja"))
    assert held[0] == pytest.approx(2 * p[0])
    printed = capsys.readouterr().out
    assert "EN left out" in printed
    assert "first: Ens. of" in printed and "second: T_tst of" in printed
    assert f"| Avg. | – | {100 * float(lines['average']['first']):.2f} |" in (predictions / "out.md").read_text()


def test_ids_that_languages_share_are_drawn_together_as_scipy_does_it(folder):
    predictions, first, second = folder
    assert compare("--first", predictions, "--corpora", "Ens", "T_tst", "--output", predictions / "out") == 0
    lines, notes = lines_of(predictions / "out")
    assert any("ids were drawn" in note for note in notes)
    each_id = np.mean([first[lang].astype(int) - second[lang].astype(int) for lang in first], axis=0)
    expected = bootstrap(
        (each_id,), np.mean, method="percentile", n_resamples=10_000, batch=1000, rng=np.random.default_rng(7)
    ).confidence_interval
    assert numbers(lines["average"], "low", "high") == pytest.approx(expected, abs=2 / (3 * ROWS))
    assert int(lines["ids"]["only_first"]) == (each_id > 0).sum()
    assert int(lines["ids"]["only_second"]) == (each_id < 0).sum()


@pytest.mark.parametrize("shared", [True, False])
def test_translations_of_one_another_make_the_average_less_certain(tmp_path, shared):
    """Each language has the same difference on the same rows: as three of them, or as one.

    The standard deviation of a mean of d in {-1, 0, 1} over n rows is sd(d) / sqrt(n); over 3 n independent rows it
    is smaller by sqrt(3). 95% of a normal law lie within 1.96 standard deviations.
    """
    rows = 400
    labels = np.random.default_rng(0).integers(2, size=rows)
    first, second = (np.random.default_rng(seed).random(rows) < share for seed, share in ((1, 0.7), (2, 0.6)))
    for number, language in enumerate(("de", "fr", "ja")):
        ids = [str(row if shared else 1000 * number + row) for row in range(rows)]
        same = dict.fromkeys([language], labels)
        write_row(tmp_path, "Ens", {language: first}, same, ids=ids)
        write_row(tmp_path, "T_tst", {language: second}, same, ids=ids)
    assert compare("--first", tmp_path, "--corpora", "Ens", "T_tst", "--output", tmp_path / "out") == 0
    lines, notes = lines_of(tmp_path / "out")
    low, high = numbers(lines["average"], "low", "high")
    d = first.astype(int) - second.astype(int)
    expected = 2 * 1.96 * d.std() / np.sqrt(rows if shared else 3 * rows)
    assert high - low == pytest.approx(expected, rel=0.1)
    assert ("ids" in lines) == shared
    assert any("drawn within each language" in note for note in notes) == (not shared)
    de_low, de_high = numbers(lines["de"], "low", "high")
    assert de_high - de_low == pytest.approx(2 * 1.96 * d.std() / np.sqrt(rows), rel=0.1)


def test_the_same_numbers_with_other_labels_are_other_rows(tmp_path):
    labels = {
        language: np.random.default_rng(seed).integers(2, size=ROWS) for seed, language in enumerate(("de", "ja"))
    }
    write_row(tmp_path, "Ens", drawn(1, 0.8, labels), labels)
    write_row(tmp_path, "T_tst", drawn(2, 0.6, labels), labels)
    assert compare("--first", tmp_path, "--corpora", "Ens", "T_tst", "--output", tmp_path / "out") == 0
    assert "ids" not in lines_of(tmp_path / "out")[0]


def test_shared_ids_are_found_in_any_order(folder, capsys):
    predictions, _, _ = folder
    assert compare("--first", predictions, "--corpora", "Ens", "T_tst", "--output", predictions / "before") == 0
    for corpus in ("Ens", "T_tst"):
        old = read_predictions(predictions, corpus, "ja")
        back = slice(None, None, -1)
        turned = replace(old, ids=old.ids[back], labels=old.labels[back], probabilities=old.probabilities[back])
        write_predictions(predictions, turned)
    assert compare("--first", predictions, "--corpora", "Ens", "T_tst", "--output", predictions / "after") == 0
    before, after = (lines_of(predictions / name)[0] for name in ("before", "after"))
    assert after == before


def test_english_of_s_tst_mt_is_t_tst(folder, labels, capsys):
    predictions, _, _ = folder
    right = drawn(3, 0.7, ("de", "ja"))
    write_row(predictions, "S_tst_MT", right, labels)
    assert compare("--first", predictions, "--corpora", "S_tst_MT", "T_tst", "--output", predictions / "out") == 0
    lines, notes = lines_of(predictions / "out")
    assert list(lines)[:3] == ["en", "de", "ja"]
    assert lines["en"]["first"] == lines["en"]["second"]
    assert "S_tst^MT in EN: the untranslated text" in notes


def test_an_interval_can_be_had_again_and_changes_with_the_seed(folder):
    predictions, _, _ = folder
    intervals = []
    for seed in (1, 1, 2):
        compare("--first", predictions, "--corpora", "Ens", "T_tst", "--seed", seed, "--output", predictions / "out")
        intervals.append((predictions / "out.tsv").read_text())
    assert intervals[0] == intervals[1]
    assert intervals[0].split("\n# ")[0] != intervals[2].split("\n# ")[0]


# --- several seeds ---------------------------------------------------------------------------------------------------


@pytest.fixture
def seeds(tmp_path, labels):
    """Two algorithms with the seeds 1, 2, 3; the folders of the second are given in another order."""
    right = {}
    for name, share in (("a", 0.8), ("b", 0.7)):
        for seed in (1, 2, 3):
            right[name, seed] = drawn(10 * seed + ord(name), share)
            other = {"seed": seed, "checkpoint_sha256": f"{name}{seed}" * 32}
            write_row(tmp_path / f"{name}{seed}", "Ens", right[name, seed], labels, **other)
    first = [tmp_path / f"a{seed}" for seed in (1, 2, 3)]
    second = [tmp_path / f"b{seed}" for seed in (3, 1, 2)]
    return first, second, right


def test_several_seeds_are_paired_and_averaged(seeds, tmp_path):
    first, second, right = seeds
    assert compare("--first", *first, "--second", *second, "--output", tmp_path / "out") == 0
    lines, notes = lines_of(tmp_path / "out")
    by_seed = [
        {lang: right["a", s][lang].astype(int) - right["b", s][lang].astype(int) for lang in ("en", "de", "ja")}
        for s in (1, 2, 3)
    ]
    de = np.sum([d["de"] for d in by_seed], axis=0)
    assert float(lines["de"]["first"]) == pytest.approx(np.mean([right["a", s]["de"].mean() for s in (1, 2, 3)]))
    assert float(lines["de"]["difference"]) == pytest.approx(de.mean() / 3)
    assert [int(lines["de"][column]) for column in ("only_first", "only_second")] == [(de > 0).sum(), (de < 0).sum()]
    expected = bootstrap(
        (de / 3,), np.mean, method="percentile", n_resamples=10_000, batch=1000, rng=np.random.default_rng(7)
    ).confidence_interval
    assert numbers(lines["de"], "low", "high") == pytest.approx(expected, abs=2 / (3 * ROWS))
    told = [f"{100 * np.mean([d[lang].mean() for lang in d]):+.2f} (seed {s})" for s, d in enumerate(by_seed, 1)]
    assert f"difference on average by seed: {', '.join(told)}" in notes
    assert sum(note.startswith("second: Ens. of") for note in notes) == 3
    assert any(note.startswith("p: exact sign test on rows, two-sided") for note in notes)


def test_seeds_that_do_not_pair_are_refused(seeds, capsys):
    first, second, _ = seeds
    assert compare("--first", *first, "--second", *second[:2]) == 2
    assert "the first has seeds 1, 2, 3 and the second 1, 3" in capsys.readouterr().err
    assert compare("--first", *first[:2], "--second", *second[:2]) == 2
    assert "the first has seeds 1, 2 and the second 1, 3" in capsys.readouterr().err
    assert compare("--first", first[0], first[0], "--second", *second[:2]) == 2
    assert "a1 (seed 1), " in capsys.readouterr().err


def test_one_run_against_one_needs_no_common_seed(seeds):
    first, second, _ = seeds
    assert compare("--first", first[0], "--second", second[0]) == 0


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "xnli"}, "b/Ens.de is of data set pawsx, "),
        ({"labels": ("1", "0")}, "is of label set"),
    ],
)
def test_tables_of_other_data_are_refused_with_both_names(folder, labels, tmp_path, capsys, change, said):
    _, first, _ = folder
    write_row(tmp_path / "b", "Ens", {"de": first["de"]}, labels)
    write_row(tmp_path / "c", "Ens", {"de": first["de"]}, labels, **change)
    assert compare("--first", tmp_path / "b", "--second", tmp_path / "c") == 2
    err = capsys.readouterr().err
    assert said in err
    assert str(tmp_path / "b/Ens.de") in err and str(tmp_path / "c/Ens.de") in err


def test_other_ids_or_labels_are_refused_with_both_names(folder, labels, tmp_path, capsys):
    predictions, first, _ = folder
    write_row(tmp_path / "b", "Ens", first, labels, ids=[f"x{row}" for row in range(ROWS)])
    assert compare("--first", predictions, "--second", tmp_path / "b") == 2
    assert f"row 1 has id '0' in {predictions}/Ens.en and 'x0' in {tmp_path}/b/Ens.en" in capsys.readouterr().err
    write_row(tmp_path / "c", "Ens", first, {language: 1 - classes for language, classes in labels.items()})
    assert compare("--first", predictions, "--second", tmp_path / "c") == 2
    err = capsys.readouterr().err
    assert f"in {predictions}/Ens.en and" in err and f"in {tmp_path}/c/Ens.en (60 such rows)" in err


def test_other_languages_are_refused_and_can_be_left_out(folder, labels, tmp_path, capsys):
    predictions, first, _ = folder
    write_row(tmp_path / "b", "Ens", {"de": first["de"]}, labels)
    assert compare("--first", predictions, "--second", tmp_path / "b") == 2
    assert "the first row is in en, de, ja and the second in de; name those to compare" in capsys.readouterr().err
    assert compare("--first", predictions, "--second", tmp_path / "b", "--languages", "de") == 0
    assert compare("--first", predictions, "--second", tmp_path / "b", "--languages", "de", "ko") == 2
    assert f"{predictions} holds no predictions for Ens.ko; it holds Ens.de" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "both rows are Ens of the same folders"),
        (["--corpora", "Ens", "T_test"], "no table is for a corpus T_test"),
        (["--corpora", "Ens", "T_tst", "S_tst_MT"], "takes one name, or one for each"),
        (["--corpora", "Ens", "T_tst", "--resamples", "0", "--confidence", "95"], "--confidence is 95.0"),
        (["--corpora", "Ens", "Ens_w"], "holds no predictions for Ens_w"),
    ],
)
def test_wrong_options_are_refused(folder, capsys, options, said):
    assert compare("--first", folder[0], *options) == 2
    assert said in capsys.readouterr().err


def test_runs_of_one_row_differ_in_their_seeds_alone(tmp_path, labels, capsys):
    def run(name, seed, tau):
        settings = {"common.seed": seed, "task.data": name, "criterion.tau": tau}
        for corpus in ("T_tst", "Ens"):
            write_row(tmp_path / name, corpus, drawn(seed, 0.7), labels, seed=seed, settings=settings)
        return tmp_path / name

    one, two, other = run("one", 1, 0.1), run("two", 2, 0.1), run("other", 2, 0.5)
    assert compare("--first", one, two, "--corpora", "Ens", "T_tst", "--output", tmp_path / "out") == 0
    assert compare("--first", one, other, "--corpora", "Ens", "T_tst", "--output", tmp_path / "refused") == 2
    said = capsys.readouterr().err
    assert f"criterion.tau: 0.1 in {one}, 0.5 in {other}" in said and "data" not in said
    assert not list(tmp_path.glob("refused*"))
