"""The data sets, one row each: what Table 6 of the paper counts, and how the published files are named and written.

To add a data set, add a row to :data:`DATASETS`. A published form that several data sets come in is a row too
(:data:`XTREME`); only if its files are of a new format, add a reader to :mod:`fairseq_musc.data.readers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

#: The language of S_trn, and of the text of S_tst_MT, in every data set of the paper.
SOURCE_LANGUAGE = "en"

#: Languages as file names of MLDoc spell them: ``{word}`` in a path.
WORDS = {
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "it": "italian",
    "ja": "japanese",
    "ru": "russian",
    "zh": "chinese",
}


class Columns(NamedTuple):
    """What the parts of a row are called in a raw file; in JSON lines, ``{name}`` stands for a value within a text."""

    id: str | None
    """None for the number of the row within its file, counted from 1."""
    label: str
    text: str
    text_pair: str | None = None
    """None for single sentences."""
    language: str | None = None
    """In a file of several languages, the column that says which one a row is in."""
    source: tuple[str, ...] = ()
    """In a file of translations, the columns of the texts that were translated: rows are aligned by them."""

    @property
    def names(self) -> list[str]:
        """Every column that is read."""
        one_each = (self.id, self.label, self.text, self.text_pair, self.language)
        return [*(name for name in one_each if name is not None), *self.source]


class Layout(NamedTuple):
    """How a raw file is written."""

    format: str
    """A key of :data:`fairseq_musc.data.readers.READERS`, or of :data:`fairseq_musc.data.records.RECORDS`."""
    columns: Columns
    header: tuple[str, ...] = ()
    """The names of the columns where no line of the file has them."""
    short_rows: bool = False
    """Whether rows may end before the columns that are not read."""
    may_be_wrong: bool = False
    """Whether rows of other cells or labels are known to occur, so that they count as untranslated ones do."""
    delimiter: str | None = None
    """What stands between cells, if another than the format's own."""
    records: bool = False
    """Whether the format is one of ``RECORDS``, whose rows are named values."""


class Files(NamedTuple):
    """The raw files of one corpus, one a language."""

    path: str
    """Below an input folder, from ``{file}``, ``{language}`` or ``{word}``; also looked for with ``.gz`` behind it. A
    path without a language is in the source language, unless a column says the language."""
    file: str
    """What ``{file}`` stands for; the options ``--train-file`` and the like put another in its place. May hold
    ``{size}``."""
    layout: Layout

    def name(self, file: str, language: str) -> str:
        """The path below an input folder."""
        return self.path.format(file=file, language=language, word=WORDS.get(language, language))

    @property
    def in_source_language_alone(self) -> bool:
        """Whether there is one file, and no other language in it."""
        return self.layout.columns.language is None and self.name("", "de") == self.name("", "fr")


class Form(NamedTuple):
    """One way in which a data set, or a part of it, is published."""

    name: str
    files: Mapping[str, Files]
    """Corpus to its files. S_trn: the labelled training data, in the source language where rows are aligned across
    languages, in every language (T_trn) where they are not. T_val and T_tst: in every language. T_trn_MT and S_tst_MT:
    translations that are published with the data."""
    translated_by: str = ""
    """Who made those translations."""


class Dataset(NamedTuple):
    """One data set as it is published."""

    name: str
    labels: tuple[str, ...]
    """In class order, as corpora write them."""
    languages: tuple[str, ...]
    forms: tuple[Form, ...]
    rows: Mapping[str, int]
    """Split (``train``, ``valid``, ``test``) to the rows a language; a split that is not published is left out."""
    aligned: bool
    """Whether row n of a split is the same row in every language, translated. If not, each language has rows of its
    own, training data among them (T_trn)."""
    spellings: Mapping[str, str] = MappingProxyType({})
    """Other spellings of labels in raw files, to the label."""
    unlabelled: frozenset[str] = frozenset()
    """What stands for no label; such rows are left out and counted."""
    untranslated: frozenset[str] = frozenset({""})
    """What stands in place of a sentence that is not there; surrounding spaces do not count."""
    sizes: tuple[int, ...] = ()
    """The sizes that the train set is published in (``{size}`` in a file name), if there are several."""
    short_files: Mapping[str, int] = MappingProxyType({})
    """Train files that are published with fewer rows than :attr:`rows` says, to how many."""
    counted_by: str = "Table 6 of the paper"

    @property
    def is_pair(self) -> bool:
        """Whether a row holds two texts."""
        return self.forms[0].files["T_tst"].layout.columns.text_pair is not None

    @property
    def label_of(self) -> dict[str, str | None]:
        """Every label that a raw file may hold, to the label of the data set; None for rows without one."""
        return {**{label: label for label in self.labels}, **self.spellings, **dict.fromkeys(self.unlabelled)}

    def rows_of(self, split: str, size: int | None = None) -> int | None:
        """How many rows of a split each language has; None if the split is not published."""
        return size if split == "train" and size is not None else self.rows.get(split)


#: PAWS-X as it is published.
X_FINAL_ROWS = Layout("header_tsv", Columns("id", "label", "sentence1", "sentence2"))
#: XTREME's pairs: what its utils_preprocess.py writes, with the labels of test left in.
XTREME_PAIRS = Layout(
    "tsv", Columns(None, "label", "sentence1", "sentence2"), header=("sentence1", "sentence2", "label")
)
#: XTREME's translations. The pair that was translated comes first: English in translate-train, the target language in
#: translate-test.
XTREME_TRANSLATED_PAIRS = Layout(
    "tsv",
    Columns(None, "label", "translation1", "translation2", source=("sentence1", "sentence2")),
    header=("sentence1", "sentence2", "translation1", "translation2", "label"),
    may_be_wrong=True,
)
#: XNLI 1.0: one file for the 15 languages.
XNLI_ROWS = Layout("header_tsv", Columns("pairID", "gold_label", "sentence1", "sentence2", language="language"))
#: MultiNLI 1.0: most rows were labelled by one annotator only, and label2 to label5 may be left out at their end.
MNLI_ROWS = Layout("header_tsv", Columns("pairID", "gold_label", "sentence1", "sentence2"), short_rows=True)
#: The training data of XNLI-MT 1.0: the same rows in the same order in the 15 languages.
XNLI_MT_ROWS = Layout("header_tsv", Columns(None, "label", "premise", "hypo"))
#: MARC: the released code makes a review a sentence pair, the second of which is its title and the product's category.
MARC_PAIRS = Layout("json_lines", Columns("review_id", "stars", "review_body", "{review_title} . {product_category}"))
MARC_BODIES = Layout("json_lines", Columns("review_id", "stars", "review_body"))
#: A label, a tab, and the text: MLDoc and CLS.
LABEL_TEXT = Layout("label_text", Columns(None, "label", "text"), header=("label", "text"))

XTREME = Form(
    "xtreme",
    {
        "S_trn": Files("{file}-{language}.tsv", "train", XTREME_PAIRS),
        "T_val": Files("{file}-{language}.tsv", "dev", XTREME_PAIRS),
        "T_tst": Files("{file}-{language}.tsv", "test", XTREME_PAIRS),
    },
)
XTREME_MT = Form(
    "xtreme-mt",
    {
        "T_trn_MT": Files("en-{language}-{file}.tsv", "translated", XTREME_TRANSLATED_PAIRS),
        "S_tst_MT": Files("test-{language}-en-{file}.tsv", "translated", XTREME_TRANSLATED_PAIRS),
    },
    translated_by="XTREME",
)


def marc_form(layout: Layout) -> Form:
    """The files of MARC, each row of them made into texts as ``layout`` says."""
    return Form(
        "json",
        {
            "S_trn": Files("dataset_{language}_{file}.json", "train", layout),
            "T_val": Files("dataset_{language}_{file}.json", "dev", layout),
            "T_tst": Files("dataset_{language}_{file}.json", "test", layout),
        },
    )


MARC = Dataset(
    name="marc",
    labels=("1", "2", "3", "4", "5"),
    languages=("en", "de", "es", "fr", "ja", "zh"),
    forms=(marc_form(MARC_PAIRS),),
    rows={"train": 200_000, "valid": 5_000, "test": 5_000},
    aligned=False,
)


def cls(domain: str) -> Dataset:
    """The reviews of one kind of product of Prettenhofer and Stein (2010), which have no validation set."""
    return Dataset(
        name=f"cls_{domain}",
        labels=("0", "1"),
        languages=("en", "de", "fr", "ja"),
        forms=(
            Form(
                "tsv",
                {
                    "S_trn": Files(domain + ".{file}.{language}.tsv", "train", LABEL_TEXT),
                    "T_tst": Files(domain + ".{file}.{language}.tsv", "test", LABEL_TEXT),
                },
            ),
        ),
        rows={"train": 2_000, "test": 2_000},
        aligned=False,
        counted_by="Prettenhofer and Stein (2010)",
    )


DATASETS: dict[str, Dataset] = {
    row.name: row
    for row in [
        Dataset(
            name="pawsx",
            labels=("0", "1"),
            languages=("en", "de", "es", "fr", "ja", "ko", "zh"),
            forms=(
                Form(
                    "x-final",
                    {
                        "S_trn": Files("{language}/{file}.tsv", "train", X_FINAL_ROWS),
                        "T_val": Files("{language}/{file}.tsv", "dev_2k", X_FINAL_ROWS),
                        "T_tst": Files("{language}/{file}.tsv", "test_2k", X_FINAL_ROWS),
                    },
                ),
                Form(
                    "x-final-mt",
                    {"T_trn_MT": Files("{language}/{file}.tsv", "translated_train", X_FINAL_ROWS)},
                    translated_by="PAWS-X",
                ),
                XTREME,
                XTREME_MT,
            ),
            rows={"train": 49_401, "valid": 2_000, "test": 2_000},
            aligned=True,
            untranslated=frozenset({"", "NS"}),
        ),
        Dataset(
            name="xnli",
            labels=("contradiction", "entailment", "neutral"),
            languages=("en", "ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh"),
            forms=(
                Form(
                    "xnli-1.0",
                    {
                        "T_val": Files("{file}.tsv", "xnli.dev", XNLI_ROWS),
                        "T_tst": Files("{file}.tsv", "xnli.test", XNLI_ROWS),
                    },
                ),
                Form("mnli", {"S_trn": Files("{file}.txt", "multinli_1.0_train", MNLI_ROWS)}),
                Form("mnli-tsv", {"S_trn": Files("{file}.tsv", "multinli.train.en", XNLI_MT_ROWS)}),
                Form(
                    "xnli-mt",
                    {"T_trn_MT": Files("{file}.{language}.tsv", "multinli.train", XNLI_MT_ROWS)},
                    translated_by="XNLI-MT 1.0",
                ),
                XTREME,
                XTREME_MT,
            ),
            rows={"train": 392_702, "valid": 2_490, "test": 5_010},
            aligned=True,
            spellings={"contradictory": "contradiction"},
            unlabelled=frozenset({"-"}),
        ),
        MARC,
        MARC._replace(name="marc_body", forms=(marc_form(MARC_BODIES),)),
        Dataset(
            name="mldoc",
            labels=("CCAT", "ECAT", "GCAT", "MCAT"),
            languages=("en", "de", "es", "fr", "it", "ja", "ru", "zh"),
            forms=(
                Form(
                    "label-text",
                    {
                        "S_trn": Files("{word}.{file}", "train.{size}", LABEL_TEXT),
                        "T_val": Files("{word}.{file}", "dev", LABEL_TEXT),
                        "T_tst": Files("{word}.{file}", "test", LABEL_TEXT),
                    },
                ),
            ),
            rows={"valid": 1_000, "test": 4_000},
            aligned=False,
            sizes=(1_000, 2_000, 5_000, 10_000),
            short_files={"spanish.train.10000": 9_458, "russian.train.10000": 5_216},
        ),
        cls("books"),
        cls("dvd"),
        cls("music"),
    ]
}
