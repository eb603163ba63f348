"""The page: what stands on it is what the other verbs print, texts stay texts, and it loads nothing."""

import base64
import hashlib
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from lxml import html
from made_up_runs import ALONE, write_run
from page_world import LABELS, ROWS, TEXTS, text_of, write_world

from fairseq_musc.cli import main
from fairseq_musc.evaluate.table import read_predictions, write_predictions
from fairseq_musc.files import write_sealed_json
from fairseq_musc.page.rendering import parted

LANGUAGES = ("en", "de", "fr")


def page(output, *arguments):
    return main(["page", "--output", str(output), *map(str, arguments)])


def parsed(path):
    return html.fromstring(path.read_text(encoding="utf-8"))


def text_in(element):
    return " ".join(element.text_content().split())


def table_in(section):
    """The cells of the first table of a section, as texts."""
    return [[text_in(cell) for cell in row] for row in section.xpath(".//table")[0].iter("tr")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    predictions = write_world(root)
    output = root / "report.html"
    assert page(output, "--predictions", predictions, "--corpora", root / "corpora", "--examples", 100) == 0
    return root, predictions, output


def test_it_has_its_sections_and_one_heading(world):
    tree = parsed(world[2])
    assert [section.get("id") for section in tree.iter("section")] == [
        *("accuracy", "comparisons", "curves", "figure1", "calibration", "examples", "provenance")
    ]
    assert len(list(tree.iter("h1"))) == 1
    assert [link.get("href") for link in tree.xpath("//nav//a")] == [f"#{s.get('id')}" for s in tree.iter("section")]
    assert all(len(tree.xpath(f"//*[@id='{section.get('aria-labelledby')}']")) == 1 for section in tree.iter("section"))


def test_accuracies_are_those_of_report(tmp_path, capsys):
    write_run(tmp_path / "run", languages=LANGUAGES, rows=97)
    assert page(tmp_path / "page.html", "--predictions", tmp_path / "run") == 0
    head, *rows = table_in(parsed(tmp_path / "page.html").get_element_by_id("accuracy"))
    assert head == ["Inference", "EN", "FR", "DE", "Avg."]
    assert main(["report", "--predictions", str(tmp_path / "run")]) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()[2:5]]
    assert [line[0] for line in printed] == ["T_tst", "S_tst^MT", "Ens."]
    for line, row in zip(printed, rows, strict=False):
        assert row[0] == line[0].replace("_", "").replace("^", "")
        assert [cell[: cell.index(".") + 2] for cell in row[1:]] == line[1:]
    assert rows[3] == ["rows", "97", "97", "97", ""]


def test_curves_are_in_the_tables_behind_the_charts(world):
    section = parsed(world[2]).get_element_by_id("curves")
    captions = [text_in(caption) for caption in section.iter("caption")]
    assert captions == [
        "Accuracy, Ens., in %",
        "Accuracy, Tval, in %",
        "Accuracy, SvalMT, in %",
        "Cross-entropy, in nats",
        "Accuracy, Ens., DE, in %",
        "L, the weighted sum, in nats",
        "Lce, cross-entropy, in nats",
        "Lmu, MixUp, in nats",
    ]
    rows = [[text_in(cell) for cell in row] for row in section.xpath(".//table")[0].iter("tr")]
    assert [row[0] for row in rows] == ["Update", "10", "20", "30"]
    assert [row[1] for row in rows[1:]] == ["62", "72", "82"]
    assert len(section.xpath(".//circle[contains(@class, 'chosen')]")) == 5
    assert len(section.xpath(".//svg[@role='img']")) == 8


def test_figure_1_and_calibration_are_those_of_their_verbs(world, tmp_path, capsys):
    _, predictions, output = world
    assert main(["figure", "--predictions", str(predictions), "--output", str(tmp_path)]) == 0
    assert main(["calibrate", "--predictions", str(predictions)]) == 0
    lines = [line.split("\t") for line in (tmp_path / "figure1.tsv").read_text().splitlines() if line[0] != "#"]
    tree = parsed(output)
    counts = table_in(tree.get_element_by_id("figure1"))
    assert [row[1:] for row in counts] == [row[1:] for row in lines]
    calibration = (predictions / "calibration.md").read_text()
    for table in tree.get_element_by_id("calibration").iter("table"):
        if "less is better" in text_in(table):
            rows = [[text_in(cell) for cell in row] for row in table.iter("tr")][1:]
    assert len(rows) == 9
    assert all(f"| {' | '.join(row[2:])} |" in calibration for row in rows)


def test_the_examples_are_the_rows_that_the_ensemble_changed(world):
    _, predictions, output = world
    expected = set()
    for language in ("de", "ar", "ja"):
        target, ensemble = (read_predictions(predictions, corpus, language) for corpus in ("T_tst", "Ens"))
        for row in range(ROWS):
            right = [table.probabilities[row].argmax() == table.labels[row] for table in (target, ensemble)]
            if right[0] != right[1]:
                expected.add((language, "won" if right[1] else "lost", target.ids[row]))
    items = parsed(output).xpath("//ul[@class='examples']/li")
    found = {(item.get("data-language"), item.get("data-kind"), item.get("data-id")) for item in items}
    assert found == expected and {kind for _, kind, _ in found} == {"won", "lost"}
    for item in items:
        row = int(item.get("data-id").partition("<")[0])
        language = item.get("data-language")
        texts = [element.text_content() for element in item.iter("dd")]
        second = text_of("second", row)
        assert texts == [
            text_of(f"T_tst.{language}", row), second, text_of(f"S_tst_MT.{language}", row), second
        ]  # fmt: skip
        assert [element.get("lang") for element in item.iter("dd")] == [language, language, "en", "en"]
        ensemble = read_predictions(predictions, "Ens", language)
        last = [text_in(cell) for cell in item.xpath(".//tr")[-1]]
        assert last == ["Ens.", *(f"{p:.3f}" for p in ensemble.probabilities[row])]


def test_texts_ids_labels_and_names_of_files_never_become_markup(world):
    raw = world[2].read_text(encoding="utf-8")
    for text in (*TEXTS, *LABELS, "<i>1", "<b>set</b>", "<u>encoder</u>"):
        if "<" in text:
            assert text not in raw
    tree = parsed(world[2])
    assert len(tree.xpath("//script")) == 1 and len(tree.xpath("//style")) == 1
    for name in ("img", "b", "i", "u", "iframe", "object", "form"):
        assert tree.xpath(f"//{name}") == []
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on")]
    assert "49" not in [text_in(element) for element in tree.iter("bdi")]  # {{ 7 * 7 }} is no template


def test_nothing_is_loaded_and_nothing_but_our_script_may_run(world):
    raw = world[2].read_text(encoding="utf-8")
    tree = parsed(world[2])
    links = [value for element in tree.iter() for name, value in element.attrib.items() if name in ("src", "href")]
    assert {link[0] for link in links} == {"#", "d"} and [link for link in links if link[0] == "d"] == ["data:,"]
    assert "url(" not in tree.xpath("//style")[0].text and "@import" not in tree.xpath("//style")[0].text
    policy = tree.xpath("//meta[@http-equiv='Content-Security-Policy']")[0].get("content")
    assert "default-src 'none'" in policy
    for name in ("style", "script"):
        (text,) = re.findall(f"<{name}>(.*?)</{name}>", raw, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert not tree.xpath("//*[@style]")


def test_every_chart_says_what_it_is_and_every_table_has_a_caption(world):
    tree = parsed(world[2])
    for chart in tree.iter("svg"):
        assert chart.get("aria-hidden") == "true" or (chart.get("role") == "img" and chart.get("aria-label"))
    for table in tree.iter("table"):
        assert table.xpath("./caption") or table.getparent().get("aria-label")
        assert table.xpath(".//th[@scope='col']") and table.xpath(".//th[@scope='row']")
        assert table.getparent().get("tabindex") == "0"


def test_the_same_files_give_the_same_page(world, tmp_path):
    root, predictions, output = world
    again = tmp_path / "again.html"
    assert page(again, "--predictions", predictions, "--corpora", root / "corpora", "--examples", 100) == 0
    assert again.read_bytes() == output.read_bytes()


def test_several_settings_are_compared_and_their_seeds_averaged(tmp_path, capsys):
    root = tmp_path / "world"
    runs = [write_world(root, seed, terms) for seed, terms in ((1, "ce"), (2, "ce"), (3, "ce+sc"))]
    assert page(tmp_path / "page.html", "--predictions", *runs) == 0
    assert "3 runs in 2 settings, 3 with a training log" in capsys.readouterr().out
    tree = parsed(tmp_path / "page.html")
    assert text_in(tree.find(".//h1")) == "<b>set</b>: 2 settings compared"
    heads = [text_in(head) for head in tree.xpath("//th[@class='group-name']")]
    assert heads == ["Lce (seeds 1, 2)", "Lce + Lsc (seed 3)"]
    compared = [row[:2] for row in table_in(tree.get_element_by_id("comparisons"))[1:]]
    assert compared == [
        *(["Ens. of Lce", "Ttst"], ["Ens. of Lce", "StstMT"]),
        *(["Ens. of Lce + Lsc", "Ttst"], ["Ens. of Lce + Lsc", "StstMT"]),
    ]
    # One has seeds 1 and 2, the other 3: there is no pair.
    assert "Not compared: Ens. of Lce + Lsc and Ens. of Lce. runs are paired by seed" in text_in(
        tree.get_element_by_id("comparisons")
    )
    assert len(tree.xpath("//section[@id='provenance']/details")) == 3


def test_what_is_missing_is_said(tmp_path):
    write_run(tmp_path / "run", languages=LANGUAGES, corpora=ALONE, predicted=("T_tst",), ensemble=False)
    assert page(tmp_path / "page.html", "--predictions", tmp_path / "run") == 0
    tree = parsed(tmp_path / "page.html")
    said = {section.get("id"): text_in(section) for section in tree.iter("section")}
    assert "There is nothing to compare" in said["comparisons"]
    assert "No training log was found" in said["curves"]
    assert "It needs predictions on Ttst and StstMT and their ensemble" in said["figure1"]
    assert "There is no ensemble" in said["examples"]
    assert "ECE" in said["calibration"]


def test_without_corpora_the_ids_are_shown(tmp_path):
    write_run(tmp_path / "run", languages=LANGUAGES, rows=80, skill=1.0)
    assert page(tmp_path / "page.html", "--predictions", tmp_path / "run", "--examples", 2) == 0
    items = parsed(tmp_path / "page.html").xpath("//ul[@class='examples']/li")
    assert len(items) == 2 * 2 * 2 and not list(items[0].iter("dd"))
    assert "id de" in text_in(items[0]) or "id fr" in text_in(items[0])


def test_a_long_text_is_unfolded_and_none_of_it_is_lost():
    words = " ".join(f"word{number}" for number in range(1000))
    for text in (words, "x" * 5000, words[:700], "short"):
        head, rest = parted(text)
        assert head + rest == text
        assert (len(head) <= 600 and rest) if len(text) > 720 else rest == ""
    assert parted(words)[0].endswith(" ")


def test_tables_of_version_0_1_are_shown(world, tmp_path):
    for corpus, language in (("T_tst", "de"), ("S_tst_MT", "de")):
        old = read_predictions(world[1], corpus, language)
        write_predictions(tmp_path / "run", replace(old, signature=replace(old.signature, training=None)))
    assert page(tmp_path / "page.html", "--predictions", tmp_path / "run", "--title", "A <title>") == 0
    assert text_in(parsed(tmp_path / "page.html").find(".//h1")) == "A <title>"


def test_nine_languages_of_many_rows_stay_small(tmp_path):
    languages = ("en", "zh", "fr", "de", "ru", "es", "it", "ja", "ko")
    write_run(tmp_path / "run", "marc", languages=languages, rows=2000, skill=2.0)
    assert page(tmp_path / "page.html", "--predictions", tmp_path / "run") == 0
    assert (tmp_path / "page.html").stat().st_size < 1_500_000
    tree = parsed(tmp_path / "page.html")
    panels = tree.xpath("//section[@id='figure1']//figure")
    assert len(panels) == 9 and all(len(list(panel.iter("path"))) == 4 for panel in panels)


def refused(capsys, *arguments):
    assert page(*arguments) == 2
    return capsys.readouterr().err


def test_what_cannot_be_shown_is_said(world, tmp_path, capsys):
    root, predictions, _ = world
    output = tmp_path / "page.html"
    (tmp_path / "empty").mkdir()
    assert "no predictions for" in refused(capsys, output, "--predictions", tmp_path / "empty")
    assert "there is no folder" in refused(capsys, output, "--predictions", tmp_path / "none")
    assert "--examples is -1" in refused(capsys, output, "--predictions", predictions, "--examples", "-1")
    log = predictions.parent / "train.log"
    assert "--logs names 2 for 1" in refused(capsys, output, "--predictions", predictions, "--logs", log, log)
    told = refused(capsys, output, "--predictions", predictions, "--corpora", tmp_path / "empty")
    assert told.count("is in none of") == 7
    other = tmp_path / "other"
    write_world(other, seed=2)
    for path in (other / "corpora").glob("T_tst.de.*"):
        path.write_text(path.read_text().replace("T_tst.de", "changed"))
    path = other / "corpora" / "T_tst.de.tsv"
    about = json.loads(path.with_suffix(".json").read_text())
    del about["crc32"]  # which is of what it held before
    write_sealed_json(path.with_suffix(".json"), {**about, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    told = refused(capsys, output, "--predictions", predictions, "--corpora", other / "corpora")
    assert "T_tst.de" in told and "is not what was predicted" in told and told.count("\n  - ") == 1
    assert page(output, "--predictions", predictions, "--corpora", other / "corpora", root / "corpora") == 0


def test_without_jinja_it_is_refused(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert "pip install 'fairseq-musc[report]'" in refused(capsys, tmp_path / "page.html", "--predictions", world[1])
    assert not (tmp_path / "page.html").exists()


def test_a_damaged_table_is_refused(world, tmp_path, capsys):
    table = read_predictions(world[1], "T_tst", "de")
    path = write_predictions(tmp_path / "run", table)
    path.write_bytes(path.read_bytes()[:-1] + b" \n")
    assert "has changed since it was written" in refused(capsys, tmp_path / "p.html", "--predictions", tmp_path / "run")


def test_the_average_is_missing_where_a_language_is(tmp_path):
    write_run(tmp_path / "run", languages=LANGUAGES, ensemble=False)
    extra = read_predictions(tmp_path / "run", "T_tst", "de")
    signature = replace(extra.signature, language="es")
    write_predictions(tmp_path / "run", replace(extra, signature=signature, labels=np.array(extra.labels)))
    assert page(tmp_path / "page.html", "--predictions", tmp_path / "run") == 0
    rows = table_in(parsed(tmp_path / "page.html").get_element_by_id("accuracy"))
    assert rows[0] == ["Inference", "EN", "FR", "DE", "ES", "Avg."]
    assert rows[2][0] == "StstMT" and rows[2][4:] == ["–", "–"] and rows[1][5] != "–"


def test_averages_over_other_languages_do_not_stand_side_by_side(tmp_path):
    write_run(tmp_path / "a", languages=("en", "de", "fr"))
    write_run(tmp_path / "b", languages=("en", "de"), terms="ce+sc")
    assert page(tmp_path / "page.html", "--predictions", tmp_path / "a", tmp_path / "b") == 0
    head, *rows, _ = table_in(parsed(tmp_path / "page.html").get_element_by_id("accuracy"))
    assert head == ["Inference", "EN", "FR", "DE", "Avg."]
    of_a, of_b = ([row[-1] for row in rows if len(row) == 5][start : start + 3] for start in (0, 3))
    assert "–" not in of_a and of_b == ["–"] * 3


def test_settings_on_other_test_rows_have_no_one_number_of_rows(tmp_path):
    write_run(tmp_path / "a", languages=("en", "de"), rows=40)
    write_run(tmp_path / "b", languages=("en", "fr"), rows=31, terms="ce+sc")
    assert page(tmp_path / "page.html", "--predictions", tmp_path / "a", tmp_path / "b") == 0
    tree = parsed(tmp_path / "page.html")
    assert table_in(tree.get_element_by_id("accuracy"))[-1] == ["rows", "31 to 40", "31", "40", ""]
    assert "31 to 40 test rows each" in text_in(tree.find_class("facts")[0])
