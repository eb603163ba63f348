"""score-translator: sacreBLEU of a real tiny translator on aligned text, and what it refuses."""

import json

import pytest
import sacrebleu
from hugging_face_folder import write_hugging_face_folder
from translator_fixture import sentences

from fairseq_musc.cli import main

pytest_plugins = ["translator_fixture"]


@pytest.fixture
def references(tmp_path):
    folder = tmp_path / "references"
    folder.mkdir()
    for xx in ("en", "de", "ja", "fr"):
        rows = [row.get(xx, "") for row in sentences(12, seed=9)]
        (folder / f"test.{xx}").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder


def score(translator, references, output, *more):
    return main(
        ["score-translator", "--translator", str(translator), "--references", str(references), "--output", str(output),
         "--cpu", "--beam", "2", "--max-len-b", "20", *more]
    )  # fmt: skip


def test_the_table_is_sacrebleus(translator_folder, references, tmp_path, capsys):
    output = tmp_path / "scores"
    assert score(translator_folder, references, output) == 0
    printed = capsys.readouterr().out
    about = json.loads((output / "scores.json").read_text())
    assert list(about["scores"]) == ["en-de", "de-en", "en-ja", "ja-en"]  # fr is unknown to the translator
    means = []
    for direction, found in about["scores"].items():
        hypotheses = (output / f"{direction}.txt").read_text(encoding="utf-8").splitlines()
        lines = (references / f"test.{direction[3:]}").read_text(encoding="utf-8").splitlines()
        assert len(hypotheses) == len(lines) == 12
        tokenizer = "char" if direction == "en-ja" else "13a"
        expected = sacrebleu.corpus_bleu(hypotheses, [lines], tokenize=tokenizer).score
        assert found["bleu"]["score"] == pytest.approx(expected, abs=0.01)
        assert f"tok:{tokenizer}" in found["bleu"]["signature"]
        expected = sacrebleu.corpus_chrf(hypotheses, [lines]).score
        assert found["chrf"]["score"] == pytest.approx(expected, abs=0.01)
        means.append(found["chrf"]["score"])
    assert about["scores"]["en-de"]["chrf"]["score"] > 20  # it has learnt something, so that a mix-up would show
    rows = [line.split("\t") for line in (output / "scores.tsv").read_text().splitlines() if not line.startswith("#")]
    assert [row[0] for row in rows] == ["Direction", "en-de", "de-en", "en-ja", "ja-en", "mean"]
    assert float(rows[-1][2]) == pytest.approx(sum(means) / 4)
    assert "test, 12 lines" in printed
    assert "| en-ja |" in (output / "scores.md").read_text()


def test_translations_that_are_there_are_kept_if_they_were_made_alike(translator_folder, references, tmp_path):
    output = tmp_path / "scores"
    only = ("--directions", "de-en", "--limit", "3")
    path = output / "de-en.txt"
    assert score(translator_folder, references, output, *only) == 0
    whole, time = path.read_bytes(), path.stat().st_mtime_ns
    assert score(translator_folder, references, output, *only) == 0
    assert path.stat().st_mtime_ns == time
    assert score(translator_folder, references, output, *only, "--beam", "1") == 0
    assert path.stat().st_mtime_ns > time
    assert score(translator_folder, references, output, *only) == 0
    assert path.read_bytes() == whole


@pytest.mark.parametrize("harmed", ["de-en.txt", "de-en.json"])
def test_translations_that_are_not_as_they_were_written_are_made_again(translator_folder, references, tmp_path, harmed):
    """Cut short they were scored against the first lines; a damaged JSON file was a traceback."""
    output = tmp_path / "scores"
    only = ("--directions", "de-en", "--limit", "3")
    assert score(translator_folder, references, output, *only) == 0
    names = ("de-en.txt", "de-en.json", "scores.json")
    made = [(output / name).read_bytes() for name in names]
    whole = (output / harmed).read_bytes()
    for content in (whole[: whole.index(b"\n") + 1], b"{", None):
        (output / harmed).unlink()
        if content is not None:
            (output / harmed).write_bytes(content)
        assert score(translator_folder, references, output, *only) == 0
        assert [(output / name).read_bytes() for name in names] == made


def test_line_ends_and_marks_of_windows_are_no_text(translator_folder, references, tmp_path):
    assert score(translator_folder, references, tmp_path / "one", "--directions", "en-de") == 0
    for path in references.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert score(translator_folder, references, tmp_path / "two", "--directions", "en-de") == 0
    one, two = (json.loads((tmp_path / name / "scores.json").read_text())["scores"] for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--directions", "en-de", "en-fr", "en-ko", "ja"), "en-fr: the translator does not know fr"),
        (("--directions", "en-de", "en-fr", "en-ko", "ja"), "en-ko: there is no text in ko"),
        (("--directions", "en-de", "en-fr", "en-ko", "ja"), "ja is no direction"),
        (("--name", "other"), "has other in no language"),
        (("--limit", "0"), "--limit is 0; it must be at least 1"),
        (("--limit", "-1"), "--limit is -1; it must be at least 1"),
    ],
)
def test_what_cannot_be_scored(translator_folder, references, tmp_path, capsys, more, message):
    assert score(translator_folder, references, tmp_path / "scores", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "scores").exists()


def test_every_engine_scores_what_it_says(translator_folder, references, tmp_path, monkeypatch):
    """fairseq and CTranslate2 read the same files, and in fp32 find the same; EasyNMT reads those of Hugging Face."""
    monkeypatch.setenv("FAIRSEQ_MUSC_CACHE", str(tmp_path / "cache"))
    write_hugging_face_folder(translator_folder, tmp_path / "m2m100")
    (references / "test.fr").unlink()  # which Hugging Face's tokenizer would know
    about, texts = {}, {}
    for engine in ("fairseq", "ctranslate2", "easynmt"):
        folder = tmp_path / "m2m100" if engine == "easynmt" else translator_folder
        only = ("--directions", "de-en", "--limit", "8") if engine != "easynmt" else ("--limit", "2")
        assert score(folder, references, tmp_path / engine, "--engine", engine, *only) == 0
        about[engine] = json.loads((tmp_path / engine / "de-en.json").read_text())
        texts[engine] = (tmp_path / engine / "de-en.txt").read_text(encoding="utf-8").splitlines()
        assert about[engine]["engine"] == engine
        table = json.loads((tmp_path / engine / "scores.json").read_text())
        assert (table["engine"], table["precision"]) == (engine, "fp32")
        assert f"translator: {engine} with " in (tmp_path / engine / "scores.md").read_text()
    assert list(tmp_path.glob("cache/ctranslate2-*"))
    assert len(set(texts["fairseq"])) > 4
    assert texts["ctranslate2"] == texts["fairseq"]
    assert about["ctranslate2"] == {**about["fairseq"], "engine": "ctranslate2"}
    assert len(table["scores"]) == 6  # all directions between its languages; ja-de and de-ja were not trained


def test_no_direction_between_the_texts(translator_folder, references, tmp_path, capsys):
    (references / "test.en").unlink()  # the others were trained with English alone
    assert score(translator_folder, references, tmp_path / "scores") == 2
    assert "texts are in de, fr, ja; it knows de, ja of these, and no direction" in capsys.readouterr().err


def test_texts_that_are_not_aligned(translator_folder, references, tmp_path, capsys):
    (references / "test.ja").write_text("one line\n")
    assert score(translator_folder, references, tmp_path / "scores") == 2
    assert "test.ja 1" in capsys.readouterr().err
    for path in references.iterdir():
        path.write_text("")
    assert score(translator_folder, references, tmp_path / "scores") == 2
    assert "test has no lines" in capsys.readouterr().err
    (references / "dev.en").write_text("one line\n")
    assert score(translator_folder, references, tmp_path / "scores") == 2
    assert "has 2 texts (dev, test); say which with --name" in capsys.readouterr().err
