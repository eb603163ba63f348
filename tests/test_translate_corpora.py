"""translate: corpora from corpora, kept when nothing has changed, never replaced unasked."""

import collections
import datetime
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from translator_fixture import sentences

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, read_corpus, write_corpus
from fairseq_musc.errors import InputError
from fairseq_musc.files import sha256
from fairseq_musc.translate.engines.fairseq import FairseqEngine
from fairseq_musc.translate.made_corpora import MadeCorpus, corpora_to_make

pytest_plugins = ["translator_fixture"]
SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def write(folder, name, language, number=5, seed=0, pair=True, blank=2):
    """A corpus of ``number`` rows in its own language; row ``blank`` holds a blank text."""
    texts = ["" if i == blank else row[language] for i, row in enumerate(sentences(number, seed))]
    pairs = [row[language] for row in sentences(number, seed + 1)] if pair else [None] * number
    rows = [Row(f"r{i}", str(i % 2), *cells) for i, cells in enumerate(zip(texts, pairs, strict=True))]
    write_corpus(folder, Corpus(name, language, language, "toy", ("0", "1"), rows, {"read": "by hand"}))


def command(corpora, translator, *more):
    decoding = ["--beam", "2", "--max-len-b", "12", "--cpu"]
    return ["translate", "--corpora", str(corpora), "--translator", str(translator), *decoding, *more]


@pytest.fixture
def corpora(tmp_path):
    folder = tmp_path / "corpora"
    write(folder, "S_trn", "en", 5)
    write(folder, "T_tst", "de", 4, seed=20)
    write(folder, "T_tst", "en", 4, seed=20)
    write(folder, "T_tst", "ja", 4, seed=20)
    write(folder, "T_val", "de", 3, seed=40, pair=False)
    return folder


def made(folder):
    return sorted(path.stem for path in folder.glob("*_[MB]T.*.json"))


def test_every_corpus_that_can_be_made_is_made_from_the_right_one(corpora, translator_folder, capsys):
    assert main(command(corpora, translator_folder, "--make", "T_trn_MT", "S_val_MT", "S_tst_MT")) == 0
    assert made(corpora) == ["S_tst_MT.de", "S_tst_MT.ja", "S_val_MT.de", "T_trn_MT.de", "T_trn_MT.ja"]
    assert capsys.readouterr().err.count(" sentences too long and cut") == 4, "T_val.de and T_tst.de go together"
    source = read_corpus(corpora, "S_trn", "en")
    target = read_corpus(corpora, "T_trn_MT", "ja")
    assert target.ids == source.ids
    assert [row.label for row in target.rows] == [row.label for row in source.rows]
    assert (target.language, target.text_language, target.dataset, target.labels) == ("ja", "ja", "toy", ("0", "1"))
    assert target.rows[2].text == ""
    assert all(row.text for row in target.rows if row.id != "r2")
    assert all(row.text_pair for row in target.rows)
    japanese = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
    assert all(japanese.search(row.text + row.text_pair) for row in target.rows), "and into the right language"
    assert not any(japanese.search(row.text + row.text_pair) for row in read_corpus(corpora, "S_tst_MT", "ja").rows)
    test = read_corpus(corpora, "S_tst_MT", "de")
    assert (test.language, test.text_language) == ("de", "en")
    assert not read_corpus(corpora, "S_val_MT", "de").is_pair


def test_the_provenance_says_what_made_it(corpora, translator_folder):
    assert main(command(corpora, translator_folder, "--make", "S_tst_MT", "--languages", "de")) == 0
    about = json.loads((corpora / "S_tst_MT.de.json").read_text())
    origin = about["provenance"]
    assert origin["engine"] == "fairseq"
    assert origin["translator"]["model.pt"] == sha256(translator_folder / "model.pt")
    assert origin["translator"]["spm.128k.model"] == sha256(translator_folder / "spm.128k.model")
    assert (origin["source_language"], origin["target_language"], origin["beam"]) == ("de", "en", 2)
    assert origin["made_from"] == "T_tst.de"
    assert origin["made_from_sha256"] == sha256(corpora / "T_tst.de.tsv")
    assert {"fairseq-musc", "torch", "sentencepiece"} <= set(origin["versions"])
    assert datetime.datetime.fromisoformat(origin["date"]).tzinfo is not None
    assert origin["generated_together"]["corpora"] == ["S_tst_MT.de"]
    assert origin["generated_together"]["blank"] == 1


def test_back_translation_goes_through_english(corpora, translator_folder):
    write(corpora, "T_trn", "de", 4, seed=60)
    assert main(command(corpora, translator_folder, "--make", "T_trn_BT", "S_trn_MT", "T_trn_MT")) == 0
    assert made(corpora) == ["S_trn_MT.de", "T_trn_BT.de", "T_trn_MT.de", "T_trn_MT.ja"]
    back = read_corpus(corpora, "T_trn_BT", "de")
    assert (back.language, back.text_language, back.ids) == ("de", "de", ["r0", "r1", "r2", "r3"])
    assert back.provenance["made_from_sha256"] == sha256(corpora / "S_trn_MT.de.tsv")
    assert back.provenance["generated_together"]["corpora"] == ["T_trn_MT.de", "T_trn_BT.de"]


def test_another_source_language_needs_no_third_one(corpora, translator_folder, monkeypatch):
    """Japanese into German at once, though this translator has only seen each of them with English."""
    asked = []
    real = FairseqEngine.translate

    def watched(self, batches, source_lang, target_lang):
        asked.append((source_lang, target_lang))
        return real(self, batches, source_lang, target_lang)

    monkeypatch.setattr(FairseqEngine, "translate", watched)
    write(corpora, "S_trn", "ja", 5)
    make = ["--make", "T_trn_MT", "S_tst_MT", "--languages", "de", "--source-lang", "ja"]
    assert main(command(corpora, translator_folder, *make)) == 0
    assert set(asked) == {("ja", "de"), ("de", "ja")}
    german, japanese = read_corpus(corpora, "T_trn_MT", "de"), read_corpus(corpora, "S_tst_MT", "de")
    assert (german.text_language, german.provenance["made_from"]) == ("de", "S_trn.ja")
    assert (japanese.text_language, japanese.provenance["made_from"]) == ("ja", "T_tst.de")
    assert german.ids == read_corpus(corpora, "S_trn", "ja").ids
    assert german.provenance["source_language"] == "ja"
    assert all(re.search("[a-z]", row.text_pair) for row in german.rows)


def test_the_real_translator_killed_at_random_ends_as_if_it_was_not(tmp_path, translator_folder):
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        write(folder, "T_tst", "de", 60, seed=3)
    make = ["--make", "S_tst_MT", "--batch-tokens", "64", "--chunk", "10"]
    slow = ["--beam", "5", "--max-len-b", "60"]
    assert main(command(tmp_path / "whole", translator_folder, *make, *slow)) == 0
    log = tmp_path / "log"
    choose = random.Random(time.time_ns())
    kills = 0
    while True:
        child = os.fork()  # everything that takes long to import is here already
        if child == 0:
            log_what_is_translated(log)
            os._exit(main(command(tmp_path / "killed", translator_folder, *make, *slow)))
        # By what it has done and not by the clock: a fast machine would be through before it is killed.
        enough = lines_of(log) + choose.randint(1, 20)
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and (kills == 3 or lines_of(log) < enough):
            time.sleep(choose.uniform(0.001, 0.02))
        if ended[0]:
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
    assert ended[1] == 0
    assert kills == 3
    name = "S_tst_MT.de.tsv"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "killed" / ".translate").exists()
    counts = collections.Counter(log.read_text(encoding="utf-8").splitlines())
    texts = {text for row in read_corpus(tmp_path / "killed", "T_tst", "de").rows for text in row[2:] if text}
    assert set(counts) == texts
    assert counts.total() - len(texts) <= 10 * kills


def lines_of(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def log_what_is_translated(log):
    real = FairseqEngine.translate

    def logged(self, batches, source_lang, target_lang):
        batches = [*batches]
        for batch, hypotheses in zip(batches, real(self, batches, source_lang, target_lang), strict=True):
            with open(log, "a", encoding="utf-8") as stream:
                stream.write("".join(f"{sentence}\n" for sentence in batch))
            yield hypotheses

    FairseqEngine.translate = logged


def test_what_is_there_is_kept_and_what_was_made_otherwise_is_not_replaced_unasked(
    corpora, translator_folder, tmp_path, capsys
):
    make = ["--make", "S_tst_MT", "--languages", "de"]
    assert main(command(corpora, translator_folder, *make)) == 0
    path = corpora / "S_tst_MT.de.json"
    first = path.read_bytes()
    capsys.readouterr()

    assert main(command(corpora, translator_folder, *make, "--batch-tokens", "30")) == 0
    assert "S_tst_MT.de is there" in capsys.readouterr().err
    assert path.read_bytes() == first

    assert main(command(corpora, translator_folder, *make, "--beam", "3")) == 2
    message = capsys.readouterr().err
    assert "S_tst_MT.de: beam was 2, asked is 3" in message
    assert "--overwrite" in message

    other = shutil.copytree(translator_folder, tmp_path / "other")
    with open(other / "model.pt", "ab") as stream:
        stream.write(b"\0")
    assert main(command(corpora, other, *make)) == 2
    assert f"translator was {sha256(translator_folder / 'model.pt')[:12]}" in capsys.readouterr().err

    write(corpora, "T_tst", "de", 4, seed=99)
    assert main(command(corpora, translator_folder, *make)) == 2
    assert "made_from_sha256 was" in capsys.readouterr().err
    assert path.read_bytes() == first
    assert main(command(corpora, translator_folder, *make, "--overwrite")) == 0
    assert read_corpus(corpora, "S_tst_MT", "de").provenance["made_from_sha256"] == sha256(corpora / "T_tst.de.tsv")


def test_mistakes_are_said_before_anything_is_translated(corpora, translator_folder, capsys):
    asked = ["--make", "S_tst_MT", "S_val_MT", "T_trn_BT", "--languages", "de", "ja", "fr"]
    assert main(command(corpora, translator_folder, *asked)) == 2
    message = capsys.readouterr().err
    assert "S_tst_MT: T_tst.fr to make it from" in message
    assert "S_val_MT: T_val.fr, T_val.ja to make it from" in message
    assert "T_trn_BT: S_trn_MT.de, S_trn_MT.fr, S_trn_MT.ja" in message
    write_corpus(corpora, Corpus("T_tst", "fr", "fr", "toy", ("0",), [Row("r0", "0", "un")]))
    assert main(command(corpora, translator_folder, "--make", "S_tst_MT")) == 2
    assert "does not know fr; it knows de, en, ja" in capsys.readouterr().err
    assert made(corpora) == []


def test_english_data_alone_do_not_say_what_to_translate_into(tmp_path):
    for name in ("S_trn", "T_val", "T_tst"):
        write(tmp_path, name, "en")
    with pytest.raises(InputError) as raised:
        corpora_to_make(tmp_path, ["T_trn_MT", "S_tst_MT"], None, "en")
    assert str(raised.value).splitlines()[1:] == [
        "  - T_trn_MT: any T_val or T_tst in a language other than en",
        "  - S_tst_MT: any T_tst in a language other than en",
    ]
    assert corpora_to_make(tmp_path, ["T_trn_MT"], ["de"], "en") == [MadeCorpus("T_trn_MT", "de", "en")]


def test_the_plan(corpora):
    assert corpora_to_make(corpora, ["S_tst_MT", "T_trn_MT"], None, "en") == [
        MadeCorpus("T_trn_MT", "de", "en"),
        MadeCorpus("T_trn_MT", "ja", "en"),
        MadeCorpus("S_tst_MT", "de", "en"),
        MadeCorpus("S_tst_MT", "ja", "en"),
    ]
    there = corpora_to_make(corpora, ["S_val_MT", "T_trn_BT"], None, "en", where_there=True)
    assert [str(made) for made in there] == ["S_val_MT.de"]
    write(corpora, "T_trn", "ja", 2)
    assert [str(made) for made in corpora_to_make(corpora, ["T_trn_BT", "S_trn_MT"], None, "en")] == [
        "S_trn_MT.ja",
        "T_trn_BT.ja",
    ]
    assert MadeCorpus("T_trn_BT", "ja", "en").direction == ("en", "ja")
    assert MadeCorpus("S_val_MT", "ja", "en").direction == ("ja", "en")


@pytest.fixture
def on_path(monkeypatch):
    """The installed ``fairseq-musc``, as in an activated environment."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")


@pytest.mark.parametrize("script", ["translate.sh", "back_translate.sh"])
def test_a_script_without_arguments_says_its_usage(script):
    done = subprocess.run([SCRIPTS / script], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{script} CORPORA TRANSLATOR" in done.stderr


@pytest.mark.usefixtures("on_path")
def test_the_scripts_make_their_corpora(corpora, translator_folder):
    options = ["--languages", "de", "--beam", "1", "--max-len-b", "8", "--cpu"]
    write(corpora, "T_trn", "de", 2, seed=60)
    (corpora / "T_val.de.json").unlink()
    for script in ("translate.sh", "back_translate.sh"):
        done = subprocess.run(
            [SCRIPTS / script, corpora, translator_folder, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert made(corpora) == ["S_trn_MT.de", "S_tst_MT.de", "T_trn_BT.de", "T_trn_MT.de"]
    assert read_corpus(corpora, "T_trn_BT", "de").provenance["beam"] == 1
