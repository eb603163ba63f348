"""Figure 1: every test row is a point of the right colour in the right place."""

import struct
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from made_up_runs import write_run
from test_ensemble import table

from fairseq_musc.cli import main
from fairseq_musc.evaluate.figure import Points, draw
from fairseq_musc.evaluate.table import read_predictions, write_predictions

COLOURS = ["blue", "red", "orange", "green"]
SVG = "{http://www.w3.org/2000/svg}"


def figure(folder, output, *options):
    return main(["figure", "--predictions", str(folder), "--output", str(output), *options])


def counts_in(path):
    header, *lines = (line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {line[0]: dict(zip(header[1:], map(int, line[1:]), strict=True)) for line in lines}


def points_in(path):
    """Panel and colour to the number of points that the SVG holds."""
    found = {}
    for group in ElementTree.parse(path).iter(f"{SVG}g"):
        name, _, colour = group.get("id", "").rpartition("-")
        if colour in COLOURS:
            found[name, colour] = sum(1 for _ in group.iter(f"{SVG}use"))
    return found


def counted_by_hand(folder, language):
    """A loop over the rows of the files, which knows nothing of arrays."""
    found = dict.fromkeys(COLOURS, 0)
    tables = [(folder / f"{corpus}.{language}.tsv").read_text().splitlines() for corpus in ("T_tst", "Ens")]
    names = [name.removeprefix("p_") for name in tables[0][0].split("\t")[4:]]
    for rows in zip(tables[0][1:], tables[1][1:], strict=True):
        right = []
        for row in rows:
            _, _, _, label, *probabilities = row.split("\t")
            highest = max(probabilities, key=float)
            right.append(names[probabilities.index(highest)] == label)
        found[
            {(True, True): "blue", (True, False): "orange", (False, True): "green", (False, False): "red"}[tuple(right)]
        ] += 1
    return found


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, "marc", languages=("en", "de", "fr"), rows=60, skill=1.0)
    output = tmp_path_factory.mktemp("figure")
    assert figure(folder, output) == 0
    return folder, output


def test_the_counts_are_those_of_a_loop(drawn):
    folder, output = drawn
    counts = counts_in(output / "figure1.tsv")
    assert list(counts) == ["fr", "de", "all"]
    for language in ("fr", "de"):
        by_hand = counted_by_hand(folder, language)
        assert counts[language] == {"rows": 60, **by_hand}
        assert min(by_hand.values()) > 0
    assert counts["all"] == {name: counts["fr"][name] + counts["de"][name] for name in counts["fr"]}


def test_the_svg_has_a_point_for_every_row(drawn):
    _, output = drawn
    counts = counts_in(output / "figure1.tsv")
    points = points_in(output / "figure1.svg")
    assert points == {(name, colour): counts[name][colour] for name in counts for colour in COLOURS}
    assert sum(points.values()) == 2 * 60 + 120


def test_text_in_the_svg_is_text(drawn):
    _, output = drawn
    root = ElementTree.parse(output / "figure1.svg").getroot()
    texts = ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]
    counts = counts_in(output / "figure1.tsv")
    for expected in ["FR", "DE", "all", f"{counts['de']['green']} green", f"{counts['fr']['orange']} orange"]:
        assert expected in texts
    for colour, meaning in {
        "blue": "right on T_tst and on Ens.",
        "orange": "right on T_tst, wrong on Ens.",
        "green": "wrong on T_tst, right on Ens.",
        "red": "wrong on T_tst and on Ens.",
    }.items():
        assert f"{colour}: {meaning} ({counts['all'][colour]})" in texts
    assert {"p(right label) on S_tst^MT", "p(right label) on T_tst"} <= set(texts)
    assert any(text.startswith("checkpoint: checkpoint_best.pt (update 300, SHA-256 ") for text in texts)


def test_the_png_is_whole_and_large_enough(drawn):
    data = (drawn[1] / "figure1.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 1500 and height > 700


@pytest.mark.parametrize(("languages", "in_rows"), [(3, [4]), (4, [3, 2]), (6, [4, 3]), (7, [4, 4]), (8, [3, 3, 3])])
def test_rows_of_panels_are_about_as_long(languages, in_rows):
    """One panel more than languages: that of all of them."""
    one = Points(*np.full((2, 3), 0.5), *np.full((2, 3), True))
    drawn = draw({f"l{place}": one for place in range(languages + 1)}, ["signature"])
    heights = [round(axes.get_position().y0, 3) for axes in drawn.axes]
    assert [heights.count(height) for height in sorted(set(heights), reverse=True)] == in_rows


def test_the_same_tables_give_the_same_bytes(drawn, tmp_path, monkeypatch):
    folder, output = drawn
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert figure(folder, tmp_path) == 0
    for name in ("figure1.png", "figure1.svg", "figure1.tsv"):
        assert (tmp_path / name).read_bytes() == (output / name).read_bytes()
    assert "<dc:date>" not in (output / "figure1.svg").read_text()


def test_x_is_the_translation_and_y_the_original(tmp_path):
    """Green points lie in the right down corner: wrong on T_tst, confident on S_tst^MT (section 3)."""
    run = tmp_path / "run"
    # The right class is 1 in each row. T_tst, S_tst^MT, Ens.: blue .9 .6; green .1 .95; orange .8 .05; red .3 .2.
    target, source = [0.9, 0.1, 0.8, 0.3], [0.6, 0.95, 0.05, 0.2]
    for corpus, probabilities in (("T_tst", target), ("S_tst_MT", source)):
        write_predictions(run, table(corpus, probabilities, [1] * 4))
    assert main(["ensemble", "--predictions", str(run)]) == 0
    assert figure(run, tmp_path / "out") == 0
    assert counts_in(tmp_path / "out" / "figure1.tsv") == {"de": {"rows": 4, **dict.fromkeys(COLOURS, 1)}}
    places = {}
    for group in ElementTree.parse(tmp_path / "out" / "figure1.svg").iter(f"{SVG}g"):
        if group.get("id", "").startswith("de-"):
            use = next(group.iter(f"{SVG}use"))
            places[group.get("id").removeprefix("de-")] = float(use.get("x")), float(use.get("y"))
    across = [places[colour][0] for colour in ("blue", "green", "orange", "red")]
    down = [places[colour][1] for colour in ("blue", "green", "orange", "red")]
    fit = np.polyfit(source, across, 1)
    np.testing.assert_allclose(np.polyval(fit, source), across, atol=1e-3)
    assert fit[0] > 0
    fit = np.polyfit(target, down, 1)
    np.testing.assert_allclose(np.polyval(fit, target), down, atol=1e-3)
    assert fit[0] < 0  # SVG counts from the top
    assert -fit[0] == pytest.approx(np.polyfit(source, across, 1)[0], rel=1e-3)  # equal aspect


def test_the_ensemble_is_the_one_on_disk(tmp_path):
    """With 0.9 for the translation row 1 (.8 and .4) is lost; with 0.5 it is not."""
    run = tmp_path / "run"
    for corpus, probabilities in (("T_tst", [0.8, 0.9]), ("S_tst_MT", [0.4, 0.9])):
        write_predictions(run, table(corpus, probabilities, [1, 1]))
    for weight, orange in (("0.9", 1), ("0.5", 0)):
        main(["ensemble", "--predictions", str(run), "--weight", weight])
        assert figure(run, tmp_path / weight) == 0
        assert counts_in(tmp_path / weight / "figure1.tsv")["de"]["orange"] == orange


def test_languages_can_be_chosen(drawn, tmp_path, capsys):
    folder, _ = drawn
    assert figure(folder, tmp_path, "--languages", "de") == 0
    assert list(counts_in(tmp_path / "figure1.tsv")) == ["de"]
    assert {name for name, _ in points_in(tmp_path / "figure1.svg")} == {"de"}
    assert figure(folder, tmp_path / "no", "--languages", "en", "de") == 2
    assert "en is not translated" in capsys.readouterr().err
    assert figure(folder, tmp_path / "no", "--languages", "ko", "de") == 2
    error = capsys.readouterr().err
    assert "the figure needs T_tst.ko, S_tst_MT.ko, Ens.ko" in error and "languages that are there: fr, de" in error
    assert not (tmp_path / "no").exists()


def test_a_missing_ensemble_is_said(tmp_path, capsys):
    write_run(tmp_path / "run", "demo", rows=10, ensemble=False)
    assert figure(tmp_path / "run", tmp_path / "out") == 2
    assert "the figure needs Ens.fr, Ens.de" in capsys.readouterr().err


def test_an_ensemble_of_older_predictions_is_not_drawn(tmp_path, capsys):
    write_run(tmp_path, "demo", rows=10)
    changed = read_predictions(tmp_path, "T_tst", "de")
    write_predictions(tmp_path, replace(changed, probabilities=changed.probabilities[:, ::-1]))
    assert figure(tmp_path, tmp_path / "out") == 2
    assert "Ens.de was made from another T_tst.de" in capsys.readouterr().err


def test_without_matplotlib_the_remedy_is_said(drawn, tmp_path, capsys, monkeypatch):
    for name in ["matplotlib", *(name for name in sys.modules if name.startswith("matplotlib."))]:
        monkeypatch.setitem(sys.modules, name, None)
    assert figure(drawn[0], tmp_path) == 2
    assert "pip install 'fairseq-musc[report]'" in capsys.readouterr().err


def test_dollars_in_the_name_of_a_data_set_are_no_formula(tmp_path):
    write_run(tmp_path / "run", "cash$_$2", languages=("en", "de"))
    assert main(["figure", "--predictions", str(tmp_path / "run"), "--output", str(tmp_path)]) == 0
    assert "cash$_$2" in (tmp_path / "figure1.svg").read_text(encoding="utf-8")
    assert main(["calibrate", "--predictions", str(tmp_path / "run"), "--plot"]) == 0
    assert (tmp_path / "run" / "calibration.svg").is_file()
