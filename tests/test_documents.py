"""Texts -> sentences -> texts: nothing lost, doubled or moved, in any language and any Unicode."""

import gzip
import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_musc.translate.documents import cut, plan

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

#: The languages of m2m_100, by its own codes.
CODES = (
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy "
    "id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru "
    "sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu"
)
M2M_100 = CODES.split()


def letters(sentences):
    """A model whose pieces are letters and signs."""
    return [len("".join(sentence.split())) for sentence in sentences]


def sentences(text, language, longest=1000):
    return plan([text], language, "en", letters, longest).sentences


def identity(texts, source="en", target="en", longest=1000):
    made = plan(texts, source, target, letters, longest)
    return made.join({sentence: sentence for sentence in made.sentences})


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["Dr. Smith paid $3.50 for it.", "Was it worth that much?!", "Yes... I loved it!"]),
        ("de", ["Am 3. Oktober kam Prof. Dr. Müller, z.B. zum Essen.", "Ja!"]),
        ("fr", ["C'est beau !", "Vraiment ?", "Oui."]),
        ("es", ["¿Te gusta?", "¡Sí!", "El Sr. García también."]),
        ("ru", ["Это книга.", "Хорошая!"]),
        ("ja", ["すごい！！", "最高です。。", "また買う？", "「面白い。本当に。」"]),
        ("zh", ["这是第3.5版。", "真的吗？！", "很好。"]),
        ("ko", ["저는 학생입니다!", "가격은 3.5달러입니다.", "네."]),
        ("hi", ["यह एक किताब है।", "यह अच्छी है!", "हाँ।"]),
        ("ar", ["هذا كتاب جيد.", "هل قرأته؟", "نعم!"]),
        ("ur", ["یہ کتاب ہے۔", "ہاں۔"]),
        ("my", ["ဒါက စာအုပ်ပါ။", "ကောင်းတယ်။"]),
        ("th", ["ราคา 3.5 ดอลลาร์ ไปไหน?", "แล้วก็ไป"]),
    ],
)
def test_sentences_of_a_language(language, expected):
    between = "" if language in ("ja", "zh") else " "
    assert sentences(between.join(expected), language) == expected


@pytest.mark.parametrize("language", M2M_100)
def test_every_language_of_m2m_100_is_split(language):
    if language in ("hy", "th"):  # whose "." is no full stop: Armenian has its own, Thai has none
        return
    stop = {"ja": "。", "zh": "。", "hi": "।", "bn": "।", "my": "။", "am": "።", "ur": "۔"}.get(language, ".")
    assert sentences(f"Aaa bbb{stop} Ccc ddd{stop} Eee fff{stop}", language) == [
        f"{words}{stop}" for words in ("Aaa bbb", "Ccc ddd", "Eee fff")
    ]


@pytest.mark.parametrize("space", ["\u00a0", "\u2009", "\u202f", "\u3000", " \u00a0", "\u00a0\u00a0"])
@pytest.mark.parametrize("language", ["en", "fr", "ja", "zu"])
def test_an_initial_and_a_wide_space_before_a_full_stop(language, space):
    """As web pages have it: sentencex panics on it, which ended the translation of the whole data set."""
    text = f"It has vitamin B{space}. We like it."
    assert " ".join(sentences(text, language)) == "It has vitamin B . We like it."
    assert sentences("La vitamine\u00a0C est bonne\u00a0! Oui.", "fr") == ["La vitamine C est bonne !", "Oui."]


@pytest.mark.parametrize("language", ["en", "de", "fr", "ja", "zh", "hi", "ar", "th", "my", "zu"])
def test_signs_and_spaces_in_any_order_end_nothing(language):
    rng = random.Random(language)
    signs = [
        *"abAB12.,!?…。！？\"'“”«»()-:;/@#",
        *" \t\u00a0\u2009\u200b\u202f\u3000\u0301",
        *"éÉßЯ日语한।؟",
        "Dr.",
        "U.S.",
    ]
    for _ in range(400):
        text = "".join(rng.choices(signs, k=rng.randint(1, 40)))
        assert "".join(identity([text], language)[0].split()) == "".join(text.split()), text


def test_line_ends_and_blanks_stay_exactly():
    texts = ["", " \u3000", "One dog.\r\n\r\n \n\tTwo  cats. No cow. \n", "Two cats.", "\n\n", "\u200b"]
    made = plan(texts, "en", "de", lambda them: [len(s.replace("\u200b", "")) for s in them], 100)
    assert made.sentences == ["One dog.", "Two cats.", "No cow."]
    assert made.counts == {"texts": 6, "blank": 4, "sentences": 4, "distinct": 3, "cut": 0}
    translated = {"One dog.": "1", "Two cats.": "2", "No cow.": "3"}
    assert made.join(translated) == ["", " \u3000", "1\r\n\r\n \n2 3\n", "2", "\n\n", "\u200b"]


def test_sentences_are_joined_as_the_target_language_does():
    made = {"One dog.": "一。", "Two cats.": "", "No cow.": "二。"}
    assert plan(["One dog. Two cats. No cow."], "en", "ja", letters, 100).join(made) == ["一。二。"]
    assert plan(["One dog. Two cats. No cow."], "en", "th", letters, 100).join(made) == ["一。 二。"]


def test_no_texts_and_a_sentence_without_translation():
    assert plan([], "en", "de", letters, 100).join({}) == []
    with pytest.raises(KeyError):
        plan(["A b."], "en", "de", letters, 100).join({})


def test_long_sentences_are_cut_and_counted():
    long = "one two three four, five six seven eight"
    made = plan([f"Short. {long}.", long + "."], "en", "de", letters, 20)
    assert made.sentences == ["Short.", "one two three four,", "five six seven eight."]
    assert made.counts == {"texts": 2, "blank": 0, "sentences": 5, "distinct": 3, "cut": 1}


def test_cuts_prefer_sentences_then_clauses_then_words():
    assert list(cut("One two three. Four, five six.", 20, len)) == ["One two three.", "Four, five six."]
    assert list(cut("一二三。四五六。", 5, len)) == ["一二三。", "四五六。"]
    assert list(cut("aaa bbb, ccc ddd", 9, len)) == ["aaa bbb,", "ccc ddd"]
    assert list(cut("aaaa bbbb cccc dddd", 10, len)) == ["aaaa bbbb", "cccc dddd"]
    assert list(cut("abcdefgh", 4, len)) == ["abcd", "efgh"]
    assert list(cut("3.14159 is 2.71828 no", 99, len)) == ["3.14159 is 2.71828 no"]


@pytest.mark.parametrize("sign", [".", "!", "…", "?!"])
def test_a_long_run_of_signs_is_cut_at_once(sign):
    line = sign * (100_000 // len(sign))
    begun = time.monotonic()
    assert "".join(cut(line, 128, len)) == line
    assert time.monotonic() - begun < 5
    assert [*cut("so it is... and so on", 12, len)] == ["so it is...", "and so on"]


def test_moses_does_what_tok_sh_does_for_a_language():
    def normalised(text, language):
        return plan([text], language, "en", letters, 100, "moses").sentences

    text = "Er sagte: „Hier“ – und «da»… \u00ad1\u00a0000 Mal"
    assert normalised(text, "de") == ['Er sagte: "Hier" - und "da"... 1,000 Mal']
    assert normalised("「面白い」、本当に！", "ja") == ['"面白い",本当に!']
    assert normalised("“네\u00ad”", "ko") == ["“네”"]
    assert normalised("“हाँ\u00ad”", "hi") == ["“हाँ\u00ad”"]
    assert sentences(text, "de") == ["Er sagte: „Hier“ – und «da»… \u00ad1 000 Mal"]


def test_what_moses_leaves_nothing_of_is_blank():
    made = plan(["\u200e\n", "a"], "en", "de", letters, 100, "moses")
    assert (made.sentences, made.join({"a": "b"})) == (["a"], ["\u200e\n", "b"])


@given(st.lists(st.text(), max_size=4), st.sampled_from(M2M_100), st.integers(1, 12))
def test_nothing_is_lost_doubled_or_moved(texts, language, longest):
    for target in ("de", "zh"):
        back = identity(texts, language, target, longest)
        assert ["".join(text.split()) for text in back] == ["".join(text.split()) for text in texts]
    assert all(0 < n <= max(longest, 1) for n in letters(plan(texts, language, "de", letters, longest).sentences))


WORDS = st.sampled_from(["one", "two,", "three.", "Four", "five!", "Six", "(seven)", "eight?", '"Nine."', "10", "e.g."])
LINES = st.lists(st.lists(WORDS).map(" ".join))


@given(st.lists(LINES), st.sampled_from(["\n", "\r\n", "\u2029", "\x0b"]))
def test_identity_gives_written_text_back(texts, end):
    written = [end.join(lines) for lines in texts]
    assert identity(written) == written
    doubled = [text.replace(" ", " \t ") for text in written]
    assert identity(doubled) == written


@given(st.text(), st.integers(1, 30))
def test_cutting_loses_no_word(line, longest):
    parts = list(cut(" ".join(line.split()), longest, len))
    assert "".join("".join(parts).split()) == "".join(line.split())
    assert all(len(part) <= longest for part in parts)


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "cls").is_dir(), reason="needs the real reviews of ../shared/data")
@pytest.mark.parametrize("language", ["en", "de", "fr", "ja"])
def test_real_reviews_come_apart_and_together_again(language):
    with gzip.open(SHARED / "cls" / f"books.train.{language}.tsv.gz", "rt", encoding="utf-8") as stream:
        texts = [line.rstrip("\n").split("\t", 1)[1] for line in stream]
    made = plan(texts, language, language, letters, 400)
    assert made.counts["texts"] == 2000
    assert 8000 < made.counts["sentences"] < 20000
    assert made.counts["cut"] < 150
    assert ["".join(text.split()) for text in made.join({s: s for s in made.sentences})] == [
        "".join(text.split()) for text in texts
    ]
