"""What looks wrong in a translation: sentences by hand, real sentences, spoilt ones, and any text at all."""

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_musc.translate import flaw_counts
from fairseq_musc.translate.flaw_counts import flaws_in, flaws_of_each
from fairseq_musc.translate.quality import (
    FLAWS,
    Thresholds,
    flaws,
    longest_loop,
    scripts_of,
    size,
    tally,
)

FLORES = Path(__file__).parents[2] / "shared" / "data" / "flores"
#: The 100 languages of m2m_100.
M2M_100 = """
    af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu
    hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt
    ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu
"""


# --- sound translations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "translated", "languages"),
    [
        ("OK", "OK", "en de"),
        ("Angela Merkel and Emmanuel Macron", "Angela Merkel und Emmanuel Macron", "en de"),
        ("The Lord of the Rings", "The Lord of the Rings", "en de"),
        ("iPhone 6S Plus 64GB", "iPhone 6S Plus 64GB", "en ja"),
        ("Sony Ericsson", "Sony Ericsson", "en ru"),
        ("#1 of all", "#1の本がとても良かったです。", "en ja"),
        ("See https://example.org/a/b for it.", "詳しくはhttps://example.org/a/bをご覧ください。", "en ja"),
        (
            "https://example.org/a/very/long/address?with=words",
            "https://example.org/a/very/long/address?with=words",
            "en zh",
        ),
        ("Write to someone@example.org, please.", "someone@example.org までご連絡ください。", "en ja"),
        ("The Sony WH-1000XM4 is good.", "Sony WH-1000XM4 は良い。", "en ja"),
        ("hahahahahahahahahahahahahaha", "jajajajajajajajajajajajajaja", "en es"),
        ("No no no no no no no no no!", "Nein nein nein nein nein nein nein nein nein!", "en de"),
        ("1. 2. 3. 4. 5. 6. 7. 8. 9. 10.", "1. 2. 3. 4. 5. 6. 7. 8. 9. 10.", "en fr"),
        ("------------------------------", "------------------------------", "en fr"),
        ("東京大学", "東京大学", "ja zh"),
        ("Good morning, everyone.", "Добро јутро свима.", "en sr"),
        ("Good morning, everyone.", "Dobro jutro svima.", "en sr"),
        ("I bought it yesterday.", "어제 샀어요.", "en ko"),
        ("It is not good.", "よくない。", "en ja"),
        ("Thank you very much!", "谢谢！", "en zh"),
        ("", "", "en de"),
        ("…", "…", "en de"),
        ("!!!", "！", "en zh"),
        ("😊", "😊", "en de"),
        ("The 17 rows are there.", "17 行", "en zh"),
    ],
)
def test_sound_translations_have_no_flaw(source, translated, languages):
    assert flaws(source, translated, *languages.split()) == []


@pytest.mark.shared
@pytest.mark.skipif(not FLORES.is_dir(), reason="needs the real sentences of ../shared/data")
def test_human_translations_have_hardly_any_flaw_and_spoilt_ones_have_theirs():
    """Every eighteenth line of FLORES in all directions; left untranslated, cut short, or in another language."""
    texts = {path.suffix[1:]: path.read_text(encoding="utf-8").splitlines()[::18] for path in FLORES.glob("devtest.*")}
    assert len(texts) == 9
    seen = []
    for a, b in itertools.permutations(texts, 2):
        counts = flaws_in(texts[a], texts[b], a, b)
        assert counts["texts"] == 57
        seen.append(counts)
        copied = flaws_in(texts[a], texts[a], a, b)
        assert copied["copy"] >= 0.96 * 57, (a, b)
        assert flaws_in(texts[a], [text[: len(text) // 8] for text in texts[b]], a, b)["length"] >= 0.9 * 57
        other = {"ja": "zh", "zh": "ja", "ru": "ko", "ko": "ja"}.get(b, "ru")
        if a != other:
            assert flaws_in(texts[a], texts[other], a, b)["script"] >= 0.94 * 57, (other, "for", b)
    assert sum(counts["flawed"] for counts in seen) <= 0.001 * 72 * 57


# --- each flaw -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "translated", "languages", "expected"),
    [
        ("The house by the river is old.", "The house by the river is old.", "en de", ["copy"]),
        ("The house by the old river is green.", "The house by the old river is green now.", "en de", ["copy"]),
        ("THIS BOOK IS REALLY VERY BORING", "THIS BOOK IS REALLY VERY BORING", "en de", ["copy"]),
        (
            "I read it. It was too long for me. Bad.",
            "Ich habe es gelesen. It was too long for me. Schlecht.",
            "en de",
            ["copy"],
        ),
        ("今天的天气非常好我们去公园吧", "今天的天气非常好我们去公园吧", "zh ja", ["copy"]),
        (
            "這本書真的很有意思，我們大家都非常喜歡它。",
            "這本書真的很有意思，我們大家都非常喜歡它。",
            "zh ja",
            ["copy", "script"],
        ),
        ("Il faut bien le faire.", "Il faut bien le faire.", "fr en", ["copy"]),
        ("It was good.", "Es war gut, gut, gut, gut, gut, gut, gut, gut.", "en de", ["loop"]),
        ("A very long winter has come to this land again.", "とても長い冬冬冬冬冬冬冬冬冬冬冬冬", "en ja", ["loop"]),
        ("He said nothing about it.", "Er sagte dazu nichts........................", "en de", ["loop"]),
        ("__", "__de____de____de____de____de____de__", "en de", ["loop", "length"]),
        ("The river is deep here.", "河流在这里很深，我们不能过去", "en ja", []),  # short, as a headline may be
        (
            "The river is deep here, and nobody can swim.",
            "河流在这里很深，所以没有人能够在里面游泳",
            "en ja",
            ["script"],
        ),
        ("The river is deep here.", "この川はとても深いです。", "en zh", ["script"]),
        ("The river is deep here.", "この川はとても深いです。", "en ko", ["script"]),
        ("The river is deep here.", "Cóng yuǎnchù kàn, nà zuò shān.", "en zh", ["script"]),
        ("The river is deep here.", "Here the water of this is deep.", "en ru", ["script"]),
        ("The river is deep here.", "Река здесь глубокая.", "en de", ["script"]),
        ("The river is deep here, and nobody of us can swim.", "Der Fluss.", "en de", ["length"]),
        ("Yes.", "Ja, das ist so, wie wir es gestern besprochen hatten, nicht wahr?", "en de", ["length"]),
        ("", "Ich habe das Buch gelesen.", "en de", ["length"]),
        ("The river is deep.", "", "en de", ["empty"]),
        ("The river is deep.", " .\n", "en de", ["empty"]),
        ("42", " ", "en de", ["empty"]),
        ("😊", "", "en de", ["empty"]),
    ],
)
def test_what_is_wrong_is_named(source, translated, languages, expected):
    assert flaws(source, translated, *languages.split()) == expected


def test_the_end_of_a_sentence_again_and_again_with_changes_between():
    source = (
        "I bought this book for my sister, who reads a great deal, and she told me that it was the best of the year."
    )
    end = "und sie sagte mir, dass es das beste war"
    translated = " ".join([f"{end}, {word}" for word in ("aber", "oder", "denn", "weil")])
    assert longest_loop(translated) == 0
    assert flaws(source, translated, "en", "de") == ["loop"]


def test_thresholds_move_the_border():
    pair = ("Yes, of course.", "Ja, das ist doch wirklich selbstverständlich.", "en", "de")
    assert flaws(*pair, Thresholds(ratio=2)) == ["length"]
    assert flaws(*pair, Thresholds(ratio=4)) == []
    assert flaws("on time again", "on time again", "en", "de", Thresholds(copy_words=3)) == ["copy"]


def test_sizes_are_comparable_between_scripts():
    sizes = [
        size("The weather is fine today."),
        size("今天天气很好。"),
        size("오늘은 날씨가 좋습니다."),
        size("今日は天気がいいです。"),
    ]
    assert max(sizes) < 1.35 * min(sizes)
    assert size(" a\u3000b\n") == 2


# --- languages -------------------------------------------------------------------------------------------------------


def test_every_language_of_m2m_100_has_a_script_and_some_have_several():
    assert len(M2M_100.split()) == 100
    assert all(scripts_of(language) for language in M2M_100.split())
    assert scripts_of("ja") == ("Han", "Hira", "Kana")
    assert scripts_of("ko") == ("Hang",)
    assert set(scripts_of("sr")) == {"Cyrl", "Latn"}
    assert scripts_of("sr-Latn") == ("Latn",)
    assert scripts_of("uk") == ("Cyrl",)
    assert scripts_of("zh") == scripts_of("zh_TW") == ("Han", "Bopo")


@pytest.mark.parametrize("code", ["xx", "und", "mul", "not a code", "", "toolongforacode"])
def test_of_a_code_that_is_no_language_no_script_is_asked(code):
    assert scripts_of(code) == ()
    assert flaws("The river is deep here.", "Река здесь глубокая.", "en", code) == []


# --- counting --------------------------------------------------------------------------------------------------------

SOURCES = ["The river is deep here.", "The house by the river is old.", "Yes.", "It was good."]
TRANSLATED = [
    "Der Fluss ist hier tief.",
    "The house by the river is old.",
    "",
    "Es war gut, gut, gut, gut, gut, gut, gut, gut.",
]


def test_counts_are_of_texts():
    assert flaws_in(SOURCES, TRANSLATED, "en", "de") == {
        "texts": 4,
        "flawed": 3,
        "copy": 1,
        "loop": 1,
        "script": 0,
        "length": 0,
        "empty": 1,
    }
    assert flaws_of_each(SOURCES, TRANSLATED, "en", "de") == [[], ["copy"], ["empty"], ["loop"]]
    assert flaws_in([], [], "en", "de")["texts"] == 0


def test_texts_without_a_partner_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        flaws_in(SOURCES, TRANSLATED[:-1], "en", "de")
    monkeypatch.setattr(flaw_counts, "AT_ONCE", 2)  # where a slice for a process ends
    with pytest.raises(ValueError, match="4 texts and 5 translations"):
        flaws_of_each(SOURCES, [*TRANSLATED, ""], "en", "de")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "piece", ["ab", "a" * 39 + "b", "あ", "a.", "A b ", "x@", "…", "ab3_", "word. ", "the same words. "]
)
def test_long_texts_take_no_long_time(piece):
    """Patterns that read on from every place to the end of a run would take minutes."""
    long = piece * (60_000 // len(piece))
    flaws_in([long, "short", long[::-1]], [long + "z", long, "short"], "en", "ja")


# --- any text --------------------------------------------------------------------------------------------------------

#: Letters of several scripts and marks, so that runs and copies are met; and any text at all.
TEXT = st.one_of(
    st.text(), st.text("abA 1.!?。の漢字한글яЖ\n\u200b😊\ud800"), st.lists(st.text("ab", max_size=3)).map(" ".join)
)
LANGUAGE = st.sampled_from(["en", "de", "ja", "zh", "ko", "ru", "sr", "th", "xx", ""])


@given(TEXT, TEXT, LANGUAGE, LANGUAGE)
def test_any_two_texts_are_judged(source, translated, source_lang, target_lang):
    found = flaws(source, translated, source_lang, target_lang)
    assert found == [flaw for flaw in FLAWS if flaw in found]
    assert "empty" not in found or found == ["empty"]


@given(TEXT, LANGUAGE)
def test_of_a_text_against_itself_in_the_same_language_only_the_script_can_be_wrong(text, language):
    assert set(flaws(text, text, language, language)) <= {"script"}


@given(TEXT, TEXT)
def test_out_of_proportion_is_so_both_ways(one, other):
    assert (
        "length" in flaws(one, other, "xx", "xx") or not one.strip() or "empty" in flaws(one, other, "xx", "xx")
    ) or ("length" not in flaws(other, one, "xx", "xx"))


@given(st.lists(st.tuples(TEXT, TEXT), max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_rows_is_nothing(pairs, shuffle):
    def apart(pairs):
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    mixed = list(pairs)
    shuffle.shuffle(mixed)
    first = flaws_in(*apart(pairs), "en", "ja")
    assert first == flaws_in(*apart(mixed), "en", "ja")
    found = flaws_of_each(*apart(mixed), "en", "ja")
    assert found == [flaws(*pair, "en", "ja") for pair in mixed]
    assert first["flawed"] == sum(map(bool, found))


@given(st.lists(st.lists(st.sampled_from(FLAWS), unique=True)))
def test_the_tally_is_of_texts(found):
    counts = tally(found)
    assert counts.pop("flawed") == sum(map(bool, found)) <= sum(counts.values())


@given(st.text("abcdefgh ", min_size=2, max_size=30).filter(lambda text: len(text.split()) > 0), st.integers(0, 40))
def test_repeats_of_anything_are_a_loop(piece, before):
    choose = random.Random(before)
    start = "".join(choose.choice("ijklmnop") for _ in range(before))
    assert longest_loop(f"{start} {' '.join([piece] * 6)}") >= 5 * size(piece) - 1
