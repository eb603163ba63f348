"""The result table: the paper's numbers, to the letter."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_ensemble import table

from fairseq_musc.cli import main
from fairseq_musc.evaluate.ensemble import average
from fairseq_musc.evaluate.report import mean, mixture, ordered, percent
from fairseq_musc.evaluate.table import write_predictions

#: Table 3 of the paper, PAWSX: EN ZH FR DE ES KO JA, and the printed Avg.
TABLE_3 = {
    "T_tst": ("94.5 85.0 91.2 89.0 90.5 83.1 83.3", "88.1"),
    "S_tst_MT": ("94.5 84.5 91.7 90.6 91.3 83.1 80.9", "88.1"),
    "Ens": ("94.5 86.1 92.0 91.2 91.6 85.3 82.8", "89.1"),
}
LANGUAGES = ["en", "zh", "fr", "de", "es", "ko", "ja"]


def with_accuracy(corpus, language, percents, rows=1000, **other):
    """A table of so many rows, of which exactly so many in a hundred are right."""
    right = int(Fraction(percents) * rows / 100)
    labels = np.arange(rows) % 2
    second = np.where(np.arange(rows) < right, labels, 1 - labels)
    return table(corpus, second, labels, language, **other)


def report(folder):
    return main(["report", "--predictions", str(folder)])


@pytest.fixture
def paper(tmp_path):
    for corpus, (cells, _) in TABLE_3.items():
        for language, percents in zip(LANGUAGES, cells.split(), strict=True):
            if corpus == "T_tst" or language != "en":
                write_predictions(tmp_path, with_accuracy(corpus, language, percents))
    return tmp_path


def test_the_papers_cells_give_the_papers_averages(paper, capsys):
    assert report(paper) == 0
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].split() == ["Inference", "EN", "ZH", "FR", "DE", "ES", "KO", "JA", "Avg."]
    for line, name, (cells, mean_of_them) in zip(
        lines[1:4], ["T_tst", "S_tst^MT", "Ens."], TABLE_3.values(), strict=True
    ):
        assert line.split() == [name, *cells.split(), mean_of_them]
    assert lines[4].split() == ["rows", *["1000"] * 7]
    assert len({len(line) for line in lines[:4]}) == 1


def test_the_tsv_is_not_rounded(paper):
    report(paper)
    lines = (paper / "results.tsv").read_text().split("\n")
    assert lines[0] == "inference\ten\tzh\tfr\tde\tes\tko\tja\taverage"
    assert [float(cell) for cell in lines[2].split("\t")[1:]] == pytest.approx(
        [0.945, 0.845, 0.917, 0.906, 0.913, 0.831, 0.809, 6.166 / 7], abs=1e-12
    )
    assert "# checkpoint: checkpoint_best.pt (update 300, SHA-256 abababababab)" in lines


@pytest.mark.parametrize(("rows", "said"), [(50, True), (49, False)])
def test_a_model_that_says_the_same_of_every_row_is_told_apart_from_one_that_is_not_asked_enough(
    tmp_path, capsys, rows, said
):
    labels = np.arange(rows) % 2
    write_predictions(tmp_path, table("T_tst", 0.5 * labels + 0.2, labels, "en"))
    write_predictions(tmp_path, table("T_tst", 0.1 * labels + 0.2, labels, "de"))
    write_predictions(tmp_path, table("T_tst", 0.1 * labels + 0.2, 0 * labels, "fr"))  # which is right
    report(tmp_path)
    note = "T_tst: every row is given the same answer, '0' in DE. The model has not learnt to tell rows apart."
    assert (note in capsys.readouterr().out.splitlines()) is said
    assert (f"- {note}" in (tmp_path / "results.md").read_text()) is said


def test_a_tiny_report_to_the_letter(tmp_path, capsys):
    write_predictions(tmp_path, table("T_tst", [0.9, 0.2, 0.6, 0.5], [1, 0, 0, 0], "en"))  # 3 of 4
    write_predictions(tmp_path, table("T_tst", [0.9, 0.8, 0.6, 0.5], [1, 0, 0, 0], "de"))  # 2 of 4
    write_predictions(tmp_path, table("S_tst_MT", [0.4, 0.1, 0.2, 0.1], [1, 0, 0, 0], "de"))  # 3 of 4
    assert main(["ensemble", "--predictions", str(tmp_path)]) == 0  # 0.65 0.45 0.4 0.3: 4 of 4
    capsys.readouterr()
    assert report(tmp_path) == 0
    signature = """dataset: pawsx
checkpoint: checkpoint_best.pt (update 300, SHA-256 abababababab)
seed: 1
translator: m2m_100 418M
Ens.: 0.5 T_tst + 0.5 S_tst^MT
version: fairseq-musc 0.1.0
"""
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == (
        """Accuracy in %.

| Inference | EN | DE | Avg. |
|:--|--:|--:|--:|
| T_tst | 75.0 | 50.0 | 62.5 |
| S_tst^MT | 75.0 | 75.0 | 75.0 |
| Ens. | 75.0 | 100.0 | 87.5 |
| rows | 4 | 4 |  |

"""
        + "".join(f"- {line}\n" for line in signature.splitlines())
    )
    assert capsys.readouterr().out == (
        """Inference    EN     DE  Avg.
T_tst      75.0   50.0  62.5
S_tst^MT   75.0   75.0  75.0
Ens.       75.0  100.0  87.5
rows          4      4

"""
        + signature
    )
    assert (tmp_path / "results.tsv").read_text(encoding="utf-8") == (
        "inference\ten\tde\taverage\n"
        "T_tst\t0.75\t0.5\t0.625\n"
        "S_tst_MT\t0.75\t0.75\t0.75\n"
        "Ens\t0.75\t1.0\t0.875\n"
        "rows\t4\t4\t\n" + "".join(f"# {line}\n" for line in signature.splitlines())
    )


def test_a_missing_language_is_a_dash_and_takes_the_average_with_it(paper, capsys):
    (paper / "S_tst_MT.ko.json").unlink()
    assert report(paper) == 0
    out = capsys.readouterr().out
    assert " ".join(out.split("\n")[2].split()) == "S_tst^MT 94.5 84.5 91.7 90.6 91.3 – 80.9 –"
    assert "No average for S_tst^MT: there are no predictions in KO." in out
    assert out.split("\n")[1].split()[-1] == "88.1"
    tsv = (paper / "results.tsv").read_text().split("\n")[2].split("\t")
    assert (tsv[6], tsv[8]) == ("", "")
    assert "- No average for S_tst^MT" in (paper / "results.md").read_text()


def test_lines_without_predictions_are_left_out(tmp_path, capsys):
    write_predictions(tmp_path, with_accuracy("T_tst", "de", 50))
    assert report(tmp_path) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.split("\n")[:3]] == ["Inference", "T_tst", "rows"]


@pytest.mark.parametrize(
    "order",
    [
        "en zh fr de ru es it ko ja",  # Tables 3 and 5
        "en zh fr de ru es it ja",  # Table 4
        "en ar bg zh fr de el hi ru es sw th tr ur vi",  # Tables 8 and 9
        "en de vi az nl",  # others behind them, by the alphabet
    ],
)
def test_languages_stand_in_the_papers_order(order):
    assert " ".join(ordered(dict.fromkeys(sorted(order.split())))) == order


@pytest.mark.parametrize(
    ("right", "rows", "printed"),
    [(1667, 2000, "83.4"), (1665, 2000, "83.3"), (1, 3, "33.3"), (2, 3, "66.7"), (1999, 2000, "100.0"), (0, 5, "0.0")],
)
def test_halves_are_rounded_up(right, rows, printed):
    """83.35 and 83.25: printing floats would give 83.3 (as 83.35 is stored a little below) and 83.2 (to even)."""
    assert percent(Fraction(right, rows)) == printed


def test_the_mean_is_exact():
    assert mean([Fraction(1, 3), Fraction(1, 3), Fraction(1, 3)]) == Fraction(1, 3)


def test_figures_of_two_checkpoints_do_not_stand_in_one_table(paper, capsys):
    write_predictions(paper, with_accuracy("T_tst", "de", 50, checkpoint="other.pt", checkpoint_sha256="cd" * 32))
    assert report(paper) == 2
    error = capsys.readouterr().err
    assert "checkpoint_best.pt" in error
    assert "other.pt" in error
    assert not list(paper.glob("results.*"))


def test_an_ensemble_of_older_predictions_is_found(tmp_path, capsys):
    for corpus in ("T_tst", "S_tst_MT"):
        write_predictions(tmp_path, with_accuracy(corpus, "de", 50))
    main(["ensemble", "--predictions", str(tmp_path)])
    write_predictions(tmp_path, with_accuracy("S_tst_MT", "de", 60))
    assert report(tmp_path) == 2
    assert "Ens.de was made from another S_tst_MT.de" in capsys.readouterr().err


def test_other_rows_in_one_line_are_found(tmp_path, capsys):
    write_predictions(tmp_path, with_accuracy("T_tst", "de", 50, rows=40))
    write_predictions(tmp_path, with_accuracy("S_tst_MT", "de", 50, rows=38))
    assert report(tmp_path) == 2
    error = capsys.readouterr().err
    assert "40" in error
    assert "38" in error


def test_a_folder_without_predictions_is_said(tmp_path, capsys):
    assert report(tmp_path) == 2
    assert "holds no predictions for T_tst, S_tst_MT, Ens" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_neither_torch_nor_fairseq_is_needed(paper):
    for ensemble in paper.glob("Ens.*"):
        ensemble.unlink()
    program = (
        "import sys; from fairseq_musc.cli import main; folder = sys.argv[1]; "
        "statuses = [main([verb, '--predictions', folder]) for verb in ('ensemble', 'report')]; "
        "print(statuses, [name for name in ('torch', 'fairseq', 'transformers', 'omegaconf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(Path(paper))], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[0, 0] []\n")


def test_an_ensemble_with_chosen_weights_has_a_line_of_its_own(tmp_path, capsys):
    members = [with_accuracy(corpus, "de", percents) for corpus, percents in (("T_tst", 50), ("S_tst_MT", 60))]
    for predictions in [*members, average(members, [0.5, 0.5], "Ens"), average(members, [0.1, 0.9], "Ens_w")]:
        write_predictions(tmp_path, predictions)
    assert report(tmp_path) == 0
    lines = capsys.readouterr().out.split("\n")
    assert [line.split("  ")[0] for line in lines[1:5]] == ["T_tst", "S_tst^MT", "Ens.", "Ens. (w)"]
    assert lines[4].split()[-1] == "60.0"
    assert "Ens. (w): 0.1 T_tst + 0.9 S_tst^MT" in lines


def test_members_are_named_as_in_the_tables():
    assert mixture({"T_tst": 0.5, "S_tst_MT[0123456789ab]": 0.25, "other": 0.25}) == (
        "0.5 T_tst + 0.25 S_tst^MT[0123456789ab] + 0.25 other"
    )


@pytest.mark.parametrize("options", [["--paper"], ["--output", "x"], ["--terms", "ce"], ["--verbose"]])
def test_options_of_the_papers_tables_need_one(paper, options, capsys):
    assert main(["report", "--predictions", str(paper), *options]) == 2
    assert f"{options[0]}: only with --table" in capsys.readouterr().err


def test_without_a_table_a_report_is_of_one_folder(paper, capsys):
    assert main(["report", "--predictions", str(paper), str(paper)]) == 2
    assert "one predictions folder; got 2" in capsys.readouterr().err
