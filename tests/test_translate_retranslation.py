"""Flaws counted beside each file, and flawed sentences translated once more."""

import json

import fake_engine
import pytest
from fake_engine import translation

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, read_corpus, write_corpus
from fairseq_musc.translate import flaw_counts
from fairseq_musc.translate.engine import Decoding, Device, Hypothesis
from fairseq_musc.translate.flaw_counts import flaws_in, flaws_of_each, told
from fairseq_musc.translate.job import Task
from fairseq_musc.translate.quality import Thresholds
from fairseq_musc.translate.retranslation import mend, wider

pytest_plugins = ["fake_engine"]
pytestmark = pytest.mark.usefixtures("fake")

SOUND = "Der Film war alles in allem recht gut."
FLAWED = "Der FLAW war alles in allem recht gut."
HOPELESS = "Der HOPELESS war alles in allem recht gut."


@pytest.fixture
def corpora(tmp_path):
    folder = tmp_path / "corpora"
    rows = [Row(f"r{i}", "0", text) for i, text in enumerate([SOUND, f"{FLAWED} {SOUND}", "", HOPELESS, FLAWED])]
    write_corpus(folder, Corpus("T_tst", "de", "de", "toy", ("0",), rows))
    return folder


def run(tmp_path, corpora, *more):
    where = ["--corpora", str(corpora), "--translator", str(tmp_path / "fake"), "--engine", "fake"]
    return main(["translate", *where, "--make", "S_tst_MT", *more])


def test_flaws_are_counted_and_said(tmp_path, corpora, capsys):
    assert run(tmp_path, corpora) == 0
    made_with = read_corpus(corpora, "S_tst_MT", "de").provenance
    assert made_with["flaws"] == {"texts": 5, "flawed": 3, "copy": 3, "loop": 0, "script": 0, "length": 0, "empty": 0}
    assert "S_tst_MT.de.tsv: 5 rows, 3 of 5 texts flawed (3 copy)" in capsys.readouterr().err
    assert made_with["retranslate"] is False


def test_flawed_sentences_are_translated_once_more_and_the_better_is_kept(tmp_path, corpora, capsys):
    assert run(tmp_path, corpora, "--retranslate", "--nbest", "2") == 0
    assert sorted(fake_engine.translated) == sorted([SOUND, *[FLAWED, HOPELESS] * 2])
    made = read_corpus(corpora, "S_tst_MT", "de")
    good, mended = translation(SOUND, "de", "en"), translation(FLAWED, "de", "en", 3)
    assert [row.text for row in made.rows] == [good, f"{mended} {good}", "", HOPELESS, mended]
    assert read_corpus(corpora / "nbest2", "S_tst_MT", "de").rows[4].text == FLAWED, "what was best before"
    assert made.provenance["flaws"]["flawed"] == 1
    counts = made.provenance["generated_together"]
    assert (counts["flawed"], counts["mended"]) == (2, 1)
    assert made.provenance["retranslate"] is True
    assert "2 flawed and translated once more, 1 of these mended" in capsys.readouterr().err
    assert not (corpora / ".translate").exists()


def test_a_corpus_without_it_is_another_one(tmp_path, corpora, capsys):
    assert run(tmp_path, corpora) == 0
    assert run(tmp_path, corpora, "--retranslate") == 2
    assert "retranslate was False, asked is True" in capsys.readouterr().err
    assert run(tmp_path, corpora, "--retranslate", "--overwrite") == 0
    assert json.loads((corpora / "S_tst_MT.de.json").read_text())["provenance"]["retranslate"] is True


def test_the_second_translation_goes_on_where_it_failed(tmp_path, corpora, monkeypatch):
    real = fake_engine.FakeEngine.found

    def failing(self, sentence, *more):
        if self.decoding.beam == 10 and sentence == HOPELESS:
            raise ZeroDivisionError
        return real(self, sentence, *more)

    with monkeypatch.context() as patch:
        patch.setattr(fake_engine.FakeEngine, "found", failing)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path, corpora, "--retranslate", "--chunk", "1")
    fake_engine.translated.clear()
    assert run(tmp_path, corpora, "--retranslate", "--chunk", "1") == 0
    assert fake_engine.translated == [HOPELESS]
    assert not (corpora / ".translate").exists()


def test_the_wider_beam_takes_as_much_memory():
    task = Task("de", "en", Decoding(beam=4, nbest=2, longest=60), Device(batch_tokens=1000, cpu=True))
    assert wider(task) == Task("de", "en", Decoding(beam=8, nbest=8, longest=60), Device(batch_tokens=500, cpu=True))


def test_of_as_many_flaws_the_first_is_kept():
    copy, loop = Hypothesis(SOUND, -1.0), Hypothesis("so gut " * 40, -2.0)
    both = Hypothesis(f"{SOUND} " * 40, -0.5)
    sound = Hypothesis("All in all the film was quite good.", -3.0)
    other = Hypothesis("On the whole it was a rather good film.", -4.0)
    assert mend({SOUND: [copy, sound]}, {SOUND: [both, copy]}, "de", "en") == {}
    assert mend({SOUND: [copy]}, {SOUND: [both, sound, other]}, "de", "en") == {SOUND: [sound]}
    assert mend({SOUND: [both, loop]}, {SOUND: [copy]}, "de", "en") == {SOUND: [copy, both]}
    assert told({"texts": 9, "flawed": 0, **dict.fromkeys(("copy", "loop", "script", "length", "empty"), 0)}) == (
        "0 of 9 texts flawed"
    )


def test_many_texts_are_looked_through_side_by_side(monkeypatch):
    monkeypatch.setattr(flaw_counts, "AT_ONCE", 10)
    sources = [SOUND] * 35
    translations = [translation(SOUND, "de", "en")] * 30 + [SOUND, SOUND, "", "", SOUND]
    assert flaws_in(sources, translations, "de", "en") == {
        "texts": 35, "flawed": 5, "copy": 3, "loop": 0, "script": 0, "length": 0, "empty": 2,
    }  # fmt: skip
    assert flaws_in([], [], "de", "en")["texts"] == 0
    looked_at, seen = [], [[]] * 30 + [["copy"], ["copy"], ["empty"], ["empty"], ["copy"]]
    assert flaws_of_each(sources, translations, "de", "en", progress=looked_at.append) == seen
    assert looked_at == [10, 10, 10, 5]
    no_copy = flaws_of_each(sources, translations, "de", "en", Thresholds(copy_words=20))
    assert no_copy == [[]] * 32 + [["empty"], ["empty"], []]
