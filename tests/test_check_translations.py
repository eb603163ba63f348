"""check-translations: every translated corpus against the one that it was made from, and the rows that are dropped."""

import json

import pytest

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, read_about, read_corpus, write_corpus
from fairseq_musc.files import sha256

SOUND = {
    "en": [
        "The river is deep here.",
        "The old house is green.",
        "It was a good book.",
        "I saw him there.",
        "We eat now.",
    ],
    "de": [
        "Der Fluss ist tief.",
        "Das Haus ist grün.",
        "Es war ein gutes Buch.",
        "Ich sah ihn dort.",
        "Wir essen nun.",
    ],
    "ja": [
        "この川は深いです。",
        "その古い家は緑色です。",
        "それは良い本でした。",
        "彼をそこで見ました。",
        "今食べます。",
    ],
}
COPY = "The house by the river is old."


def write(folder, name, language, texts, text_language=None, made_from=None, pair=None):
    provenance = {"read": "by hand"}
    if made_from:
        path = folder / f"{made_from}.tsv"
        provenance = {
            "engine": "toy",
            "translator": {"m.pt": "0"},
            "made_from": made_from,
            "made_from_sha256": sha256(path),
        }
    rows = [Row(f"r{i}", str(i % 2), *cells) for i, cells in enumerate(zip(texts, *filter(None, [pair]), strict=True))]
    write_corpus(folder, Corpus(name, language, text_language or language, "toy", ("0", "1"), rows, provenance))


def texts_with(language, **spoilt):
    """The sound texts, some replaced: ``r1="..."``."""
    return [spoilt.get(f"r{i}", text) for i, text in enumerate(SOUND[language])]


@pytest.fixture
def corpora(tmp_path):
    """r1 is wrong in T_trn_MT.de, r3 in T_trn_MT.ja, r0 and r4 of T_trn.de on its way back, r2 of T_tst.de."""
    folder = tmp_path / "corpora"
    write(folder, "S_trn", "en", texts_with("en", r1=COPY))
    write(folder, "T_trn_MT", "de", texts_with("de", r1=COPY), made_from="S_trn.en")
    write(folder, "T_trn_MT", "ja", texts_with("ja", r3="見" * 30), made_from="S_trn.en")
    write(folder, "T_trn", "de", SOUND["de"])
    write(folder, "S_trn_MT", "de", texts_with("en", r4=" ."), "en", "T_trn.de")
    write(folder, "T_trn_BT", "de", texts_with("de", r0="Река здесь глубокая.", r4=""), made_from="S_trn_MT.de")
    write(folder, "T_trn", "ja", SOUND["ja"])
    write(folder, "S_trn_MT", "ja", SOUND["en"], "en", "T_trn.ja")
    write(folder, "T_tst", "de", SOUND["de"])
    write(folder, "T_tst", "en", SOUND["en"])
    write(folder, "S_tst_MT", "de", texts_with("en", r2="It " + 9 * "was a good "), "en", "T_tst.de")
    return folder


def check(folder, *more):
    return main(["check-translations", "--corpora", str(folder), *map(str, more)])


def table(printed):
    """Corpus -> what its line says."""
    lines = [line.replace("(", "").replace(" %)", "").split() for line in printed.splitlines()]
    return {line[0]: " ".join(line[1:]) for line in lines if len(line) > 5 and "." in line[0]}


def ids(folder, name, language):
    return [row_id[1:] for row_id in read_corpus(folder, name, language).ids]


# --- the report ------------------------------------------------------------------------------------------------------


def test_every_translated_corpus_is_a_line(corpora, capsys):
    assert check(corpora) == 0
    assert table(capsys.readouterr().out) == {
        "T_trn_MT.de": "S_trn.en 5 1 20.00 1 20.00 0 0 0 0",
        "T_trn_MT.ja": "S_trn.en 5 1 20.00 0 1 20.00 1 20.00 1 20.00 0",
        "S_trn_MT.de": "T_trn.de 5 1 20.00 0 0 0 0 1 20.00",
        "S_trn_MT.ja": "T_trn.ja 5 0 0 0 0 0 0",
        "T_trn_BT.de": "S_trn_MT.de 5 2 40.00 0 0 1 20.00 0 1 20.00",
        "S_tst_MT.de": "T_tst.de 5 1 20.00 0 1 20.00 0 1 20.00 0",
    }
    assert check(corpora, "--only", "S_tst_MT", "T_trn_BT") == 0
    assert list(table(capsys.readouterr().out)) == ["T_trn_BT.de", "S_tst_MT.de"]


def test_examples_show_both_texts(corpora, capsys):
    assert check(corpora, "--only", "T_trn_MT", "--show", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("T_trn_MT.de, id r1: copy")
    assert lines[place + 1 : place + 3] == [f"  - {COPY}", f"  + {COPY}"]
    assert any(line.startswith("T_trn_MT.ja, id r3: loop") for line in lines)


def test_a_flaw_of_either_text_of_a_pair_is_the_row_s(tmp_path, capsys):
    write(tmp_path, "T_tst", "de", SOUND["de"], pair=SOUND["de"])
    write(tmp_path, "S_tst_MT", "de", texts_with("en", r0=""), "en", "T_tst.de", texts_with("en", r0="", r2="..."))
    assert check(tmp_path) == 0
    assert table(capsys.readouterr().out)["S_tst_MT.de"] == "T_tst.de 5 2 40.00 0 0 0 0 2 40.00"


def test_published_translations_are_held_against_the_corpus_of_that_name(tmp_path, capsys):
    write(tmp_path, "S_trn", "en", SOUND["en"])
    write(tmp_path, "T_trn_MT", "de", SOUND["de"])
    write(tmp_path, "T_val", "de", SOUND["de"])
    write(tmp_path, "S_val_MT", "de", SOUND["en"], "en")
    assert check(tmp_path) == 0
    lines = table(capsys.readouterr().out)
    assert lines == {"T_trn_MT.de": "S_trn.en 5 0 0 0 0 0 0", "S_val_MT.de": "T_val.de 5 0 0 0 0 0 0"}


def test_thresholds_are_options_and_said_when_they_are_not_the_defaults(corpora, capsys):
    assert check(corpora, "--only", "T_trn_MT", "--copy-words", "7") == 0
    printed = capsys.readouterr().out
    assert "copy words: 7" in printed
    assert table(printed)["T_trn_MT.de"] == "S_trn.en 5 0 0 0 0 0 0"
    assert check(corpora, "--copied", "1.5", "--ratio", "1", "--slack", "-1") == 2
    assert capsys.readouterr().err.count("\n  - ") == 3


def test_what_cannot_be_held_against_its_source_is_said_at_once(corpora, capsys):
    (corpora / "S_trn_MT.de.json").unlink()
    write(corpora, "T_tst", "de", texts_with("de", r1="Anders."))
    assert check(corpora) == 2
    said = capsys.readouterr().err
    assert "T_trn_BT.de was made from S_trn_MT.de, which is not there" in said
    assert "S_tst_MT.de was made from another T_tst.de than is there" in said


def test_rows_that_are_not_aligned_are_refused(tmp_path, capsys):
    write(tmp_path, "T_tst", "de", SOUND["de"])
    write(tmp_path, "S_tst_MT", "de", SOUND["en"][:4], "en")
    assert check(tmp_path) == 2
    assert "T_tst.de has 5 rows and S_tst_MT.de has 4" in capsys.readouterr().err


def test_a_folder_without_translations_says_how_to_make_them(tmp_path, capsys):
    write(tmp_path, "S_trn", "en", SOUND["en"])
    assert check(tmp_path) == 2
    assert "fairseq-musc translate" in capsys.readouterr().err


# --- dropping --------------------------------------------------------------------------------------------------------


def test_a_flawed_row_leaves_every_view_and_no_test_set(corpora, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in corpora.iterdir()}
    new = tmp_path / "new"
    assert check(corpora, "--drop", "--output", new) == 0
    said = capsys.readouterr().out
    assert {path.name for path in new.iterdir()} == set(before)
    for name, language in (("S_trn", "en"), ("T_trn_MT", "de"), ("T_trn_MT", "ja")):
        assert ids(new, name, language) == ["0", "2", "4"]
        assert f"{name}.{language}: 3 rows left, 2 dropped" in said
    for name in ("T_trn", "S_trn_MT", "T_trn_BT"):
        assert ids(new, name, "de") == ["1", "2", "3"]
    unchanged = ("T_trn.ja", "S_trn_MT.ja", "T_tst.de", "T_tst.en", "S_tst_MT.de")
    for name, content in before.items():
        assert (corpora / name).read_bytes() == content
        if name.rsplit(".", 1)[0] in unchanged:
            assert (new / name).read_bytes() == content
    kept = read_corpus(new, "T_trn_MT", "ja")
    assert [row.text for row in kept.rows] == [SOUND["ja"][i] for i in (0, 2, 4)]
    assert [row.label for row in kept.rows] == ["0", "0", "0"]


def test_what_was_dropped_is_in_the_provenance_and_the_new_folder_can_be_checked(corpora, tmp_path, capsys):
    new = tmp_path / "new"
    assert check(corpora, "--drop", "--output", new, "--ratio", "3") == 0
    provenance = read_about(new, "T_trn_BT", "de")["provenance"]
    [dropped] = provenance["dropped_as_flawed"]
    assert dropped.pop("thresholds")["ratio"] == 3
    assert dropped == {
        "rows": 2,
        "flawed": 2,
        "copy": 0,
        "loop": 0,
        "script": 1,
        "length": 0,
        "empty": 1,
        "seen_in": ["S_trn_MT.de", "T_trn_BT.de"],
        "sha256_before": sha256(corpora / "T_trn_BT.de.tsv"),
    }
    assert provenance["made_from_sha256"] == sha256(new / "S_trn_MT.de.tsv")
    assert "dropped_as_flawed" not in read_about(new, "S_trn_MT", "ja")["provenance"]
    capsys.readouterr()
    assert check(new, "--drop", "--output", tmp_path / "newer") == 0
    lines = table(capsys.readouterr().out)
    assert {name: line.split()[2] for name, line in lines.items()} == {**dict.fromkeys(lines, "0"), "S_tst_MT.de": "1"}
    assert (tmp_path / "newer" / "S_trn.en.tsv").read_bytes() == (new / "S_trn.en.tsv").read_bytes()


def test_only_what_was_looked_at_drops_rows_yet_from_all_views(corpora, tmp_path):
    new = tmp_path / "new"
    assert check(corpora, "--only", "S_trn_MT", "--drop", "--output", new) == 0
    for name in ("T_trn", "S_trn_MT", "T_trn_BT"):
        assert ids(new, name, "de") == ["0", "1", "2", "3"]
    assert ids(new, "S_trn", "en") == ["0", "1", "2", "3", "4"]


def test_test_rows_are_dropped_when_asked_for(corpora, tmp_path):
    new = tmp_path / "new"
    assert check(corpora, "--drop", "test", "--output", new) == 0
    assert ids(new, "T_tst", "de") == ids(new, "S_tst_MT", "de") == ["0", "1", "3", "4"]
    assert ids(new, "T_tst", "en") == ids(new, "S_trn", "en") == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("options", [["--drop"], ["--output", "new"]])
def test_half_of_dropping_is_refused(corpora, capsys, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check(corpora, *options) == 2
    assert "go together" in capsys.readouterr().err


def test_a_folder_that_is_there_is_left_alone_and_nothing_is_left_of_a_failure(tmp_path, capsys):
    folder = tmp_path / "corpora"
    write(folder, "T_val", "de", SOUND["de"][:1])
    write(folder, "S_val_MT", "de", [""], "en", "T_val.de")
    assert check(folder, "--drop", "--output", folder) == 2
    assert "exists" in capsys.readouterr().err
    assert check(folder, "--drop", "--output", tmp_path / "new") == 2
    assert "all 1 rows of T_val.de have a flaw" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["corpora"]
    assert json.loads((folder / "T_val.de.json").read_text())["rows"] == 1
