"""What lies on disk of a translation is what would be in memory, in blocks of any size."""

from itertools import islice

import fake_engine
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Corpus, Row, read_corpus, write_corpus
from fairseq_musc.translate import documents, sentences, texts
from fairseq_musc.translate.chunks import chunk_of
from fairseq_musc.translate.engine import Hypothesis
from fairseq_musc.translate.sentences import Sentences
from fairseq_musc.translate.texts import SplitTexts

pytest_plugins = ["fake_engine"]

WORDS = st.lists(st.sampled_from(["a", "b.", "é!", "\0", "猫"]), min_size=1, max_size=3).map(" ".join)


@given(
    st.lists(st.lists(WORDS, max_size=4), max_size=4), st.dictionaries(WORDS, st.floats(max_value=0)), st.integers(1, 5)
)
def test_sentences_are_what_a_dictionary_would_be(added, translations, size):
    there, model = Sentences(), {}
    for some in added:
        assert there.add(some) == [model.setdefault(sentence, len(model)) for sentence in some]
    found = {sentence: [Hypothesis(sentence[::-1], score)] for sentence, score in translations.items()}
    there.put([*found.items()][:2])
    there.put(found.items())
    known = [sentence for sentence in model if sentence in found]
    assert [*there.items()] == [(sentence, found[sentence]) for sentence in known]
    assert all(there.of(sentence) == there.hypotheses(model[sentence]) == found[sentence] for sentence in known)
    assert (len(there), there.untranslated()) == (len(model), len(model) - len(known))
    assert [sentence in there for sentence in [*model, *found]] == [sentence in model for sentence in [*model, *found]]
    rest = iter([sentence for sentence in model if sentence not in found])
    expected = [chunk_of(part) for part in iter(lambda: list(islice(rest, size)), [])]
    assert [there.chunk(name) for name in there.chunks(size)] == expected


TEXTS = st.lists(
    st.lists(
        st.sampled_from(["Ein Satz.", "Noch einer!", "\n", " ", "eins zwei drei vier fünf sechs", "猫。"]), max_size=5
    ).map(" ".join),
    max_size=8,
)


@given(TEXTS, st.integers(1, 4))
def test_texts_split_in_blocks_are_those_split_at_once(given_texts, size):
    def plan(some):
        return documents.plan(some, "de", "en", lambda each: [len(one.split()) for one in each], longest=3)

    whole, remaining = plan(given_texts), iter(given_texts)
    blocks = SplitTexts(documents.between_sentences("en"))
    while block := list(islice(remaining, size)):
        blocks.add(plan(block))
    assert blocks.counts == whole.counts
    translated = {sentence: f"<{sentence}>" for sentence in whole.sentences}
    blocks.sentences.put((sentence, [Hypothesis(text, 0.0)]) for sentence, text in translated.items())
    assert [sentence for sentence, _ in blocks.sentences.items()] == whole.sentences
    joined = whole.join(translated)
    assert [*blocks.joined(1, 0, len(blocks))] == joined
    assert [*blocks.joined(2, 1, 3)] == joined[1:3]


@pytest.fixture
def corpora(tmp_path):
    """Two corpora of one direction; some texts and sentences are there several times, some are flawed or blank."""
    flawed = "Der FLAW war alles in allem recht gut {}."
    for name, count in (("T_tst", 23), ("T_val", 7)):
        content = [f"Satz {i % 9}.\n{flawed.format(i % 4)}" if i % 6 else "" for i in range(count)]
        rows = [Row(f"r{i}", "0", text, f"{name} {i}") for i, text in enumerate(content)]
        write_corpus(tmp_path / "corpora", Corpus(name, "de", "de", "toy", ("0",), rows))
    return tmp_path / "corpora"


def translate(corpora, *more):
    options = ("--engine", "fake", "--translator", corpora.parent / "fake", "--corpora", corpora)
    return main(["translate", *map(str, options), "--make", "S_tst_MT", "S_val_MT", *more])


def expected(row):
    """A row as it was always translated, worked from what the fake engine does."""

    def sentence(text):
        beam_of_10 = fake_engine.translation(text, "de", "en", 3)
        return beam_of_10 if "FLAW" in text else fake_engine.translation(text, "de", "en")

    text = "\n".join(map(sentence, row.text.split("\n"))) if row.text else ""
    return row._replace(text=text, text_pair=sentence(row.text_pair))


@pytest.mark.parametrize(("block", "chunk"), [(1, 1), (3, 2), (4096, 2048)])
def test_blocks_and_chunks_of_any_size_give_the_same_corpora(corpora, fake, monkeypatch, block, chunk):
    monkeypatch.setattr(texts, "BLOCK", block)
    assert translate(corpora, "--retranslate", "--chunk", str(chunk)) == 0
    for made, source in (("S_tst_MT", "T_tst"), ("S_val_MT", "T_val")):
        assert [*read_corpus(corpora, made, "de").rows] == [*map(expected, read_corpus(corpora, source, "de").rows)]
    counts = read_corpus(corpora, "S_tst_MT", "de").provenance["generated_together"]
    flawed = {"flawed": 4, "mended": 4}
    assert counts == {
        **{"corpora": ["S_val_MT.de", "S_tst_MT.de"], "texts": 60, "blank": 6, "sentences": 78, "distinct": 43},
        **{"cut": 0, **flawed},
    }


def test_no_room_for_the_database_is_said(corpora, fake, monkeypatch, capsys):
    def small():
        database = temporary_database()
        database.execute("PRAGMA page_size = 512")
        database.execute("PRAGMA max_page_count = 5")
        return database

    temporary_database = sentences.temporary_database
    monkeypatch.setattr(sentences, "temporary_database", small)
    assert translate(corpora) == 2
    message = capsys.readouterr().err
    assert "the temporary database of the sentences cannot be kept: database or disk is full" in message
    assert "TMPDIR" in message
    assert not [*corpora.glob("*_MT*")]
