"""The demo's sentences and files: hand-typed sentences, the layout of PAWS-X, labels that can be trusted."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_musc.cli import main
from fairseq_musc.demo import grammar
from fairseq_musc.demo.grammar import (
    ADJECTIVES,
    CITIES,
    DEEDS,
    ENCOUNTERS,
    JOURNEYS,
    LANGUAGES,
    NUMBERS,
    PLACES,
    QUALITIES,
    ROLES,
    THINGS,
    TIMES,
    Clause,
    Comparison,
    Compound,
    Flavour,
    Style,
    Thing,
    near_miss,
    paraphrase,
    random_meaning,
    random_pair,
    random_style,
    render,
)

RED_CAR = Clause("bought", "Anna", Thing("car", "red", "a"), "Berlin", "yesterday")
CRITICISM = Clause("criticized", "queen", "doctor", time="on Monday", mood="not")
FLIGHT = Clause("flew", "lawyer", route=("Paris", "Rome"), time="last week", mood="wanted")
REASON = Compound(
    "because", Clause("sold", "Emma", Thing("house", "white")), Clause("built", "Oscar", Thing("tower", None, "three"))
)

# Typed by hand, not copied from the program.
SENTENCES = [
    (
        RED_CAR,
        Style(),
        [
            "Anna bought a red car in Berlin yesterday.",
            "Anna kaufte gestern in Berlin ein rotes Auto.",
            "Anna a acheté une voiture rouge à Berlin hier.",
            "Anna compró un coche rojo en Berlín ayer.",
            "アンナは昨日ベルリンで赤い車を買いました。",
        ],
    ),
    (
        RED_CAR,
        Style(time_first=True, other_tense=True, synonyms=frozenset({"car", "bought", "yesterday"})),
        [
            "Yesterday, Anna purchased a red automobile in Berlin.",
            "Gestern hat Anna in Berlin einen roten Wagen erworben.",
            "Hier, Anna acheta une automobile rouge à Berlin.",
            "Ayer, Anna adquirió un auto rojo en Berlín.",
            "昨日、アンナはベルリンで赤い自動車を購入した。",
        ],
    ),
    (
        CRITICISM,
        Style(),
        [
            "The queen did not criticize the doctor on Monday.",
            "Die Königin kritisierte den Arzt am Montag nicht.",
            "La reine n'a pas critiqué le médecin lundi.",
            "La reina no criticó al médico el lunes.",
            "女王は月曜日に医者を批判しませんでした。",
        ],
    ),
    (
        Clause("welcomed", "writer", "Clara"),
        Style(passive=True),
        [
            "Clara was welcomed by the writer.",
            "Clara wurde vom Schriftsteller begrüßt.",
            "Clara a été accueillie par l'écrivain.",
            "Clara fue recibida por el escritor.",
            "クララは作家に迎えられました。",
        ],
    ),
    (
        Clause("stole", "nurse", Thing("watch", "expensive", "two")),
        Style(passive=True),
        [
            "Two expensive watches were stolen by the nurse.",
            "Zwei teure Uhren wurden von der Krankenschwester gestohlen.",
            "Deux montres chères ont été volées par l'infirmière.",
            "Dos relojes caros fueron robados por la enfermera.",
            "高価な時計が二個看護師によって盗まれました。",
        ],
    ),
    (
        Clause("repaired", "Paul", Thing("door", "blue")),
        Style(passive=True, object_first=True),
        [
            "The blue door was repaired by Paul.",
            "Die blaue Tür reparierte Paul.",
            "C'est Paul qui a réparé la porte bleue.",
            "La puerta azul la reparó Paul.",
            "その青いドアはポールが修理しました。",
        ],
    ),
    (
        Clause("wrote", "Simon", Thing("letter", "sad", "a"), mood="not"),
        Style(passive=True),
        [
            "Simon did not write a sad letter.",
            "Simon schrieb keinen traurigen Brief.",
            "Simon n'a pas écrit de lettre triste.",
            "Simon no escribió una carta triste.",
            "サイモンは悲しい手紙を書きませんでした。",
        ],
    ),
    (
        FLIGHT,
        Style(),
        [
            "The lawyer wanted to fly from Paris to Rome last week.",
            "Der Anwalt wollte letzte Woche von Paris nach Rom fliegen.",
            "L'avocat voulait prendre l'avion de Paris à Rome la semaine dernière.",
            "El abogado quería volar de París a Roma la semana pasada.",
            "弁護士は先週パリからローマへ飛行機で行きたがっていました。",
        ],
    ),
    (
        Comparison("older", "princess", "Anna"),
        Style(),
        [
            "The princess was older than Anna.",
            "Die Prinzessin war älter als Anna.",
            "La princesse était plus âgée qu'Anna.",
            "La princesa era mayor que Anna.",
            "王女はアンナより年上でした。",
        ],
    ),
    (
        REASON,
        Style(),
        [
            "Emma sold the white house because Oscar built three towers.",
            "Emma verkaufte das weiße Haus, weil Oscar drei Türme baute.",
            "Emma a vendu la maison blanche parce qu'Oscar a construit trois tours.",
            "Emma vendió la casa blanca porque Oscar construyó tres torres.",
            "エマはその白い家を売りました。オスカーが塔を三つ建設したからです。",
        ],
    ),
    (
        REASON,
        Style(reordered=True, passive=True),
        [
            "Because Oscar built three towers, the white house was sold by Emma.",
            "Weil Oscar drei Türme baute, wurde das weiße Haus von Emma verkauft.",
            "Parce qu'Oscar a construit trois tours, la maison blanche a été vendue par Emma.",
            "Porque Oscar construyó tres torres, la casa blanca fue vendida por Emma.",
            "オスカーが塔を三つ建設したので、その白い家はエマによって売られました。",
        ],
    ),
]


@pytest.mark.parametrize(("meaning", "style", "expected"), SENTENCES)
def test_sentences_are_those_a_person_would_write(meaning, style, expected):
    assert [render(language, meaning, style) for language in LANGUAGES] == expected


def test_every_word_has_all_its_forms():
    parts = [ROLES, THINGS, ADJECTIVES, DEEDS, ENCOUNTERS, JOURNEYS, QUALITIES, CITIES, PLACES, TIMES, NUMBERS]
    for table in parts:
        for language in LANGUAGES:
            words = [word[language] for word in table.values()]
            assert len({len(forms) for word in words for forms in word}) == 1, (language, next(iter(table)))
    assert all(opposite in {**DEEDS, **ENCOUNTERS, **QUALITIES} for opposite in grammar.OPPOSITES)


def truth(meaning):
    """What a meaning says, in one form for all ways to put it: an independent account of when two are the same."""
    match meaning:
        case Comparison(quality, first, second):
            less = ("younger", "shorter", "weaker", "poorer", "slower")
            more = dict(zip(less, ("older", "taller", "stronger", "richer", "faster"), strict=True))
            return (more[quality], second, first) if quality in less else (quality, first, second)
        case Compound("and", main, other):
            return ("and", frozenset({main, other}))
        case _:
            return meaning


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9))
def test_labels_are_right_and_every_language_shows_the_difference(seed):
    rng = random.Random(seed)
    meaning, style = random_meaning(rng), random_style(rng)
    same, restyled = paraphrase(rng, meaning, style)
    assert truth(same) == truth(meaning)
    other = near_miss(rng, meaning)
    assert truth(other) != truth(meaning)
    for language in LANGUAGES:
        sentence, changed = render(language, meaning, style), render(language, other, style)
        assert sentence != changed, language
        again = render(language, same, restyled)
        for text in (sentence, changed, again):
            assert text.endswith("。" if language == "ja" else ".")
            assert "  " not in text
            assert (" " in text) == (language != "ja")
            assert not set(text) & set("\t\n_/|")


def test_near_misses_share_their_words():
    rng = random.Random(0)
    pairs = [random_pair(rng, 0) for _ in range(300)]
    shared = []
    for pair in pairs:
        first, second = (Counter(render("en", *side).lower().rstrip(".").split()) for side in (pair.first, pair.second))
        shared.append((first & second).total() / max(first.total(), second.total()))
    assert sum(shared) / len(shared) > 0.75
    assert sum(overlap == 1 for overlap in shared) / len(shared) > 0.1  # the same words, other roles


def test_a_flavour_changes_only_the_way_of_saying():
    flavour = Flavour(frozenset({"car"}), other_tense=True, object_first=True, moves_time=True)
    plain, special = Style(), Style(synonyms=frozenset({"car"}))
    assert flavour.of(plain).synonyms == {"car"}
    assert flavour.of(special).synonyms == frozenset()
    assert render("en", RED_CAR, flavour.of(plain)) == "Yesterday, Anna bought a red automobile in Berlin."


SIZES = ["--train", "37", "--valid", "13", "--test", "40", "--parallel", "50"]


def rows(path):
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [line.split("\t") for line in text[:-1].split("\n")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "data"
    assert main(["demo-data", "--output", str(folder), "--seed", "3", *SIZES]) == 0
    return folder


def test_the_layout_is_that_of_pawsx(folder):
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == sorted(
        ["x-final/en/train.tsv"]
        + [f"x-final/{lang}/{split}.tsv" for lang in ("en", "de", "fr", "es", "ja") for split in ("dev_2k", "test_2k")]
        + [f"parallel/en-{lang}.tsv" for lang in ("de", "fr", "es", "ja")]
    )
    for split, count in {"train": 37, "dev_2k": 13, "test_2k": 40}.items():
        english = rows(folder / "x-final" / "en" / f"{split}.tsv")
        assert english[0] == ["id", "sentence1", "sentence2", "label"]
        assert len(english) == count + 1
        labels = Counter(row[3] for row in english[1:])
        assert set(labels) == {"0", "1"}
        assert abs(labels["0"] - labels["1"]) <= 1
        assert all(len(row) == 4 and row[1] and row[2] and row[1] != row[2] for row in english)
        for language in LANGUAGES[1:]:
            path = folder / "x-final" / language / f"{split}.tsv"
            if split != "train":
                other = rows(path)
                assert [(row[0], row[3]) for row in other] == [(row[0], row[3]) for row in english]
                assert other[0] == english[0]
                assert all(a[1] != b[1] for a, b in zip(other[1:], english[1:], strict=True))
    english_columns = [[row[0] for row in rows(path)] for path in sorted((folder / "parallel").iterdir())]
    assert all(len(column) == 50 for column in english_columns)


def test_no_sentence_stands_in_two_sets(folder):
    sets = []
    for split in ("train", "dev_2k", "test_2k"):
        sets.append({text for row in rows(folder / "x-final" / "en" / f"{split}.tsv")[1:] for text in row[1:3]})
    sets.append({row[0] for row in rows(folder / "parallel" / "en-ja.tsv")})
    for i, first in enumerate(sets):
        for second in sets[i + 1 :]:
            assert not first & second


def test_the_seed_decides_and_leaves_chance_elsewhere_alone(folder, tmp_path):
    before = random.getstate()
    assert main(["demo-data", "--output", str(tmp_path / "same"), "--seed", "3", *SIZES]) == 0
    assert main(["demo-data", "--output", str(tmp_path / "other"), "--seed", "4", *SIZES]) == 0
    assert random.getstate() == before
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert (tmp_path / "same" / path.relative_to(folder)).read_bytes() == path.read_bytes()
        assert (tmp_path / "other" / path.relative_to(folder)).read_bytes() != path.read_bytes()


def test_original_text_is_freer_than_parallel_text(tmp_path):
    assert main(["demo-data", "--output", str(tmp_path), "--train", "1", "--test", "300", "--parallel", "600"]) == 0
    free = [text for row in rows(tmp_path / "x-final/ja/test_2k.tsv")[1:] for text in row[1:3]]
    plain = [row[1] for row in rows(tmp_path / "parallel/en-ja.tsv")]
    polite = ("ました。", "ませんでした。", "です。", "でした。")
    assert sum(text.endswith(polite) for text in free) / len(free) < 0.85
    assert sum(text.endswith(polite) for text in plain) / len(plain) > 0.87


def test_sizes_below_one_are_refused_together(tmp_path, capsys):
    assert main(["demo-data", "--output", str(tmp_path / "x"), "--train", "0", "--parallel", "-2"]) == 2
    message = capsys.readouterr().err
    assert "--train is 0" in message
    assert "--parallel is -2" in message
    assert not (tmp_path / "x").exists()
