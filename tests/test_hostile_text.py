"""Any bytes are read, or end in a clear error: no other exception, no row that is lost without a word.

Here each reader gets a few inputs; ``make fuzz`` tries a million, in many processes (``tests/fuzz.py``).
"""

import contextlib
import functools
import gzip
import hashlib
import io
import json
import logging
import os
import tempfile
from pathlib import Path

import pytest
from fairseq.dataclass.initialize import hydra_init
from fuzzing import READERS, fuzz
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.utils import get_args
from hydra.core.plugins import Plugins
from hypothesis import strategies as st

import fairseq_musc.configs
from fairseq_musc.cli import VERBS, main
from fairseq_musc.data.corpus import escape, read_corpus, unescape
from fairseq_musc.data.databin import DataBinInfo
from fairseq_musc.data.datasets import Columns, Layout
from fairseq_musc.data.forms import RawFile
from fairseq_musc.data.own import read_yaml
from fairseq_musc.data.readers import Tally, header_tsv, json_lines, label_text, tsv, undone_bytes
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.runs import find_runs
from fairseq_musc.evaluate.table import Signature, read_predictions
from fairseq_musc.files import write_json
from fairseq_musc.literals import literal
from fairseq_musc.models.new_encoder import read_texts
from fairseq_musc.page.training_log import differences, read_log
from fairseq_musc.recipes import check_command
from fairseq_musc.translate import documents
from fairseq_musc.translate.chunks import WorkFolder
from fairseq_musc.translate.parallel import read_parallel
from fairseq_musc.translate.text_file import read_text_file

LABELS = {"0": "0", "1": "1", "-": None}


@pytest.fixture(autouse=True, scope="module")
def quiet():
    """Warnings about thousands of inputs are left out."""
    logger = logging.getLogger("fairseq_musc")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


#: Pieces that mean something to a reader, among others.
PIECES = (
    *("id", "label", "text", "0", "1", "-", "NS", "7", "en", "de", "train", "\\", "\\t", "\\n", '"', '""', "'", ","),
    *("{", "}", "[", "]", ":", '{"id": 1, "label": "0", "text": "a"}', '{"label": 0, "text": null}', "null", "NaN"),
    *("\r", "\x00", "\ufeff", "\u2028", "\x85", "é", "日本。", "\U0001f600", "b'", "b'x'", "1e999", "${oc.env:HOME}"),
    *("- a", "a: b", "&a", "*a", "!!python/object/apply:os.getcwd []", "<<: *a", "? ", "| ", "> ", "%YAML", "---"),
    *('[x][train_inner][INFO] - {"num_updates": "3"}', "[x][train][INFO] - ", "num_updates=1", "loss=", "| loss 1.5"),
    *("../", "/etc/passwd", "1" * 400, "9" * 5000, "((((", "-" * 50, "a. B", "Dr. X! Y?", " ", ". ", "！", "__de__ 1"),
)
cells = st.one_of(st.sampled_from(PIECES), st.text(max_size=6)).map(lambda text: text.encode("utf-8", "surrogatepass"))
lines = st.lists(st.lists(cells, min_size=1, max_size=5).map(b"\t".join), max_size=6)
HEADS = (b"", b"id\tlabel\ttext\n", b"id,label,text\n")
ENDS = (b"", b"\n", b"\r\n")
files = st.one_of(
    st.binary(max_size=60),
    st.tuples(st.sampled_from(HEADS), lines.map(b"\n".join), st.sampled_from(ENDS)).map(b"".join),
    lines.map(lambda rows: b"".join(b"%d\t0\t%s\n" % (i, row) for i, row in enumerate(rows))),
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(PIECES))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner), max_leaves=6
)


EDITS = st.tuples(st.floats(0, 1), st.integers(0, 9), st.one_of(cells, st.binary(max_size=3), st.just(b"\n")))


def like(*wholes):
    """Files as they are written, with some edits: pieces cut out, put in, or something else in their place."""

    def edited(drawn):
        data, edits = drawn
        for place, cut, piece in edits:
            at = int(place * len(data))
            data = data[:at] + piece + data[at + cut :]
        return data

    return st.tuples(st.sampled_from(wholes), st.lists(EDITS, max_size=4)).map(edited)


#: What a value of JSON can be taken for: most of what is drawn at random is of a type that is looked at no further.
ODD = (
    0,
    1,
    -1,
    2**63,
    10**400,
    0.5,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "0",
    "x" * 300,
    [],
    ["0"],
    [[]],
    {},
    {"": ""},
)
odd = st.one_of(st.sampled_from([*ODD, None, True, "\x00", "../x", "T_tst"]), values)


def like_json(whole):
    """A value of JSON with something else in the place of some of its parts."""

    def parts(value, path=()):
        yield path
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in inner:
            yield from parts(part, (*path, key))

    def replaced(value, path, part):
        if not path:
            return part
        made = value.copy()
        made[path[0]] = replaced(value[path[0]], path[1:], part)
        return made

    def changed(changes):
        made = whole
        for path, part in changes:
            with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError):  # it was in what is gone
                made = replaced(made, path, part)
        return made

    return st.lists(st.tuples(st.sampled_from([*parts(whole)]), odd), max_size=3).map(changed)


def lines_in(data):
    """How many lines a text file has, the last one without an end included."""
    return data.count(b"\n") + (not data.endswith(b"\n") and bool(data))


LINES = b'{"id": 1, "label": "0", "text": "a \\u00e9"}\n{"id": "2", "label": "1", "text": "b"}\n'
SHEET = b'id\tlabel\ttext\n1\t0\ta b\n2\t1\tc "d" e\n3\t-\tf\n'
RAW = {
    **{"header_tsv": SHEET, "tsv": b"1\t0\ta b\n2\t1\tc\n", "label_text": b"0\ta b\n1\tb'c\\xc3\\xa9'\n"},
    **{"json_lines": LINES},
}


def formats(wholes):
    """The name of a format and a file: one that is like a whole one of it, or any."""
    fitting = [st.tuples(st.just(name), like(data)) for name, data in wholes.items()]
    return st.one_of(*fitting, st.tuples(st.sampled_from([*wholes]), st.one_of(files, like(*wholes.values()))))


@fuzz(formats(RAW), st.booleans())
def test_raw_files(folder, given_file, may_be_wrong):
    """the readers of raw files as they are published."""
    name, data = given_file
    columns = Columns(None if name == "label_text" else "id", "label", "text")
    header = ("id", "label", "text") if name == "tsv" else ()
    layout = Layout(name, columns, header=header, may_be_wrong=may_be_wrong)
    reader = {"header_tsv": header_tsv, "tsv": tsv, "label_text": label_text, "json_lines": json_lines}[name]
    tally = Tally()
    rows = [*reader(list(io.BytesIO(data)), "file", layout, LABELS, tally)]
    kept = len(rows) + len(tally.wrong) + tally.unlabelled
    assert kept == lines_in(data) - (name == "header_tsv"), (rows, tally)


TABLE_OF_ONES_OWN = b'id,label,text\n1,0,"a, b"\n2,1,"c ""d""\ne"\n'


@functools.cache
def parquet():
    """A small file of Parquet; what says that it is one if there is nothing to write it with."""
    with contextlib.suppress(ImportError):
        import pyarrow
        import pyarrow.parquet

        stream = io.BytesIO()
        table = pyarrow.table({"id": ["1", "2"], "label": ["0", "1"], "text": ["a b", "c"]})
        pyarrow.parquet.write_table(table, stream)
        return stream.getvalue()
    return b"PAR1"


@fuzz(
    # Not before it is drawn from: pyarrow starts threads, which a process that forks is better without.
    st.deferred(lambda: formats({"csv": TABLE_OF_ONES_OWN, "tsv": SHEET, "jsonl": LINES, "parquet": parquet()})),
    st.sampled_from(["", ".gz", ".gz cut"]),
)
def test_records(folder, given_file, packed):
    """the readers of data of one's own."""
    name, data = given_file
    path = folder / f"a.{name}{packed[:3]}"
    path.write_bytes(gzip.compress(data)[: -9 if "cut" in packed else None] if packed else data)
    raw = RawFile(path, path.name, "en", Layout(name, Columns("id", "label", "text"), records=True))
    from fairseq_musc.data.raw_files import load

    class Any:
        label_of, aligned = LABELS, True

    tally = Tally()
    kept = len([*load(raw, Any, tally)]) + tally.unlabelled
    if name == "jsonl":
        assert kept == sum(bool(line.strip()) for line in data.decode("utf-8-sig").split("\n"))
    if name == "tsv" and b'"' not in data and b"\r" not in data:
        assert kept == sum(bool(line) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")) - 1


def written(path, data, about):
    """A table and the file that tells its count and checksum, both right."""
    path.write_bytes(data)
    rows = max(0, data.count(b"\n") - 1)
    write_json(path.with_suffix(".json"), {**about, "rows": rows, "sha256": hashlib.sha256(data).hexdigest()})
    return rows


ABOUT = {"format": 1, "corpus": "T_tst", "language": "de", "text_language": "de", "dataset": "x", "labels": ["0", "1"]}


WHOLE = b"id\tlabel\ttext\n1\t0\ta\\tb\n2\t1\tc\n", b"id\tlabel\ttext\ttext_pair\n1\t0\ta\tb\n2\t1\tc\t\n"


@fuzz(st.one_of(files, like(*WHOLE)), st.booleans())
def test_corpora(folder, data, pair):
    """corpora whose checksum is right."""
    rows = written(folder / "T_tst.de.tsv", data, {**ABOUT, "pair": pair, "provenance": {}})
    assert len(read_corpus(folder, "T_tst", "de").rows) == rows


@fuzz(st.dictionaries(st.sampled_from([*ABOUT, "pair", "provenance", "rows", "sha256"]), odd, max_size=2))
def test_what_corpora_say(folder, changes):
    """what the JSON file of a corpus says."""
    written(folder / "T_tst.de.tsv", b"id\tlabel\ttext\n1\t0\ta\n", {**ABOUT, "pair": False, "provenance": {}})
    about = json.loads((folder / "T_tst.de.json").read_text())
    (folder / "T_tst.de.json").write_text(json.dumps({**about, **changes}))
    read_corpus(folder, "T_tst", "de")


SIGNATURE = {
    **{"dataset": "x", "corpus": "T_tst", "language": "de", "labels": ["0", "1"], "checkpoint": "c", "update": 1},
    **{"checkpoint_sha256": "0", "seed": 1, "version": "0", "training": None},
}
TRAINING = {
    **{"corpora": ["S_trn", "T_trn_MT"], "paired": True, "rows": {"S_trn.en": 2, "T_trn_MT.de": 2}, "terms": "ce+mu"},
    **{"lam": 0.5, "lr": 1e-5, "normalisation": "released", "encoder": "e", "translators": ["t"]},
}
FULL = {
    **{**SIGNATURE, "training": TRAINING, "settings": {"task.data": "x", "common.seed": 1}, "translator": "t"},
    **{"members": {"T_tst": 0.5, "S_tst_MT": 0.5}, "member_sha256": {"T_tst": "0"}, "corpus_sha256": "0"},
}
HEADER = b"id\tlanguage\tcorpus\tlabel\tp_0\tp_1\n"
TABLE = HEADER + b"1\tde\tT_tst\t0\t0.25\t0.75\n2\tde\tT_tst\t1\t1e-3\t0.999\n"


@fuzz(
    st.one_of(files, like(TABLE)),
    st.one_of(st.none(), st.lists(st.sampled_from(["0.5", "1", "0", "nan", "-1", "1e999", "x", ""]), max_size=3)),
)
def test_predictions_tables(folder, data, numbers):
    """predictions tables whose checksum is right."""
    if numbers is not None:  # a row for each line
        end = "\t".join(["", "de", "T_tst", "0", *numbers]).encode()
        data = HEADER + b"".join(line + end + b"\n" for line in data.split(b"\n"))
    rows = written(folder / "T_tst.de.tsv", data, {"format": 1, "signature": SIGNATURE})
    assert len(read_predictions(folder, "T_tst", "de").ids) == rows


@fuzz(st.one_of(like_json(FULL), like_json(SIGNATURE), st.just(SIGNATURE), values))
def test_signatures(folder, signature):
    """signatures of predictions tables."""
    written(folder / "T_tst.de.tsv", TABLE, {"format": 1, "signature": signature})
    try:
        find_runs([folder], ["T_tst"])
    finally:
        read_predictions(folder, "T_tst", "de")


DATABIN = {
    **{"format": 1, "dataset": "x", "labels": ["0", "1"], "pair": False, "max_length": 128, "tokenizer": "t"},
    **{"fingerprint": "0", "vocab_size": 9, "pad": 0, "token_types": True},
}
CORPUS = {**ABOUT, "pair": False, "provenance": {}, "rows": 2, "sha256": "0"}
PREDICTED = {"format": 1, "signature": FULL, "rows": 2, "sha256": "0"}
jsons = st.one_of(values, *map(like_json, (DATABIN, CORPUS, PREDICTED))).map(lambda value: json.dumps(value).encode())


@fuzz(st.one_of(files, jsons, like(*(json.dumps(value).encode() for value in (DATABIN, CORPUS, PREDICTED)))))
def test_json_files(folder, data):
    """files in place of the JSON of a data-bin, a corpus, a table."""
    for name in ("databin.json", "T_tst.de.json"):
        (folder / name).write_bytes(data)
    for read in (
        lambda: DataBinInfo.load(folder),
        lambda: read_corpus(folder, "T_tst", "de"),
        lambda: read_predictions(folder, "T_tst", "de"),
        lambda: find_runs([folder], ["T_tst"]),
    ):
        with contextlib.suppress(InputError):
            read()


SETTINGS = {"_name": None, "common": {"seed": 1}, "criterion": {"terms": "ce+mu"}, "optimization": {"lr": [0.1]}}
SETTINGS |= {"checkpoint": {"save_dir": "c"}, "task": {"train_corpora": ["S_trn"]}, "model": {"pretrained": "e"}}
LOG = (
    f"[2026-01-02 03:04:05,678][fairseq_cli.train][INFO] - {SETTINGS}\n"
    "[2026-01-02 03:04:05,678][fairseq.trainer][INFO] - No existing checkpoint found c\n"
    "[x][train_inner][INFO] - epoch 001:      1 / 30 L_ce=2.0, loss=3.0, num_updates=1, lr=0.001\n"
    "[x][valid][INFO] - epoch 001 | valid on 'valid' subset | loss 1 | accuracy 50 | num_updates 1\n"
    '[x][train_inner][INFO] - {"epoch": 1, "loss": "1.5", "L_ce": "1", "num_updates": "2"}\n'
    '[x][valid][INFO] - {"valid_loss": "1.5", "valid_accuracy": "50", "valid_num_updates": "2"}\n'
    '2026-01-02 03:04:05 | INFO | train | {"train_loss": "1.5", "train_num_updates": "2"}\n'
).encode()
logged = st.one_of(
    like_json(SETTINGS).map(lambda said: f"[x][fairseq_cli.train][INFO] - {said}\n".encode()),
    st.tuples(st.sampled_from(["train_inner", "valid", "train"]), like_json({"num_updates": "1", "loss": "2"})).map(
        lambda said: f"[x][{said[0]}][INFO] - {json.dumps(said[1])}\n".encode()
    ),
)


@fuzz(st.one_of(files, like(LOG), st.lists(st.one_of(logged, st.just(LOG)), max_size=4).map(b"".join)))
def test_training_logs(folder, data):
    """training logs."""
    (folder / "train.log").write_bytes(data)
    of = Signature.from_json(FULL)
    for curves in read_log(folder / "train.log"):
        differences(curves, of)


texts = st.one_of(
    st.text(max_size=60), st.lists(st.sampled_from([p for p in PIECES if len(p) < 60]), max_size=8).map("".join)
)


@fuzz(
    st.lists(texts, max_size=4),
    st.sampled_from(["en", "de", "ja", "zh", "th", "xx"]),
    st.integers(1, 12),
    st.sampled_from(["none", "moses"]),
)
def test_splitting_and_joining(folder, given_texts, language, longest, normalise):
    """the splitter and joiner of sentences."""
    plan = documents.plan(
        given_texts, language, "de", lambda parts: [len(part.split()) for part in parts], longest, normalise
    )
    joined = plan.join({sentence: sentence for sentence in plan.sentences})
    assert len(joined) == len(given_texts)
    if normalise == "none":
        for before, after in zip(given_texts, joined, strict=True):
            assert "".join(before.split()) == "".join(after.split())
            assert documents.LINE_ENDS.findall(before) == documents.LINE_ENDS.findall(after)


@fuzz(files, st.sampled_from([None, [1], [2, 1], [0]]), st.booleans(), st.sampled_from(["", ".gz", ".gz cut"]))
def test_text_files(folder, data, columns, header, packed):
    """text files to translate."""
    path = folder / f"a.txt{packed[:3]}"
    path.write_bytes(gzip.compress(data)[: -9 if "cut" in packed else None] if packed else data)
    file = read_text_file(path, columns, header)
    again = "".join("\t".join(row) + end for row, end in file.lines()).encode()
    assert again.rstrip(b"\r\n") == data.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")


PAIRS = b"a b\tc d\ne\tf\n\tg\nDr. H.\t i  j\n"


@fuzz(st.one_of(files, like(PAIRS)), st.sampled_from(["", ".gz", ".gz raw"]))
def test_parallel_text(folder, data, packed):
    """parallel text, and texts to learn a vocabulary from."""
    path = folder / f"en-de.tsv{packed[:3]}"
    path.write_bytes(gzip.compress(data) if packed == ".gz" else data)
    with contextlib.suppress(InputError):
        list(read_texts(path))
    pairs, sources = read_parallel(folder, None, None)
    about = sources[path.name]
    assert about["sentence_pairs"] + about["with_an_empty_side"] == lines_in(data)
    assert len(pairs["en", "de"]) == about["sentence_pairs"]


KEYS = (
    "format",
    "input",
    "labels",
    "languages",
    "splits",
    "hold_out",
    "name",
    "delimiter",
    "text_column",
    "train_file",
)
DESCRIBED = {
    **{"format": "csv", "train_file": ["a.csv", "de=b.csv"], "valid_file": "c.csv", "test_file": "c.csv"},
    **{"label_column": "stars", "labels": ["1", 2], "languages": {"en": "english", "de": "german"}, "name": "x"},
    **{"delimiter": ";", "text_column": "review"},
}
YAML = (
    b"format: csv\ntrain_file: &files [a.csv, de=b.csv]\nvalid_file: *files\ntest_file: c.csv\nlabels: [yes, 0x10]\n"
    b"languages:\n  en: english\n  de: german\ntext_column: review\nlabel_column: stars\n"
)
described = st.one_of(st.dictionaries(st.sampled_from(KEYS), odd), like_json(DESCRIBED))


@fuzz(st.one_of(files, like(YAML), described.map(lambda said: json.dumps(said).encode())))
def test_descriptions(folder, data):
    """YAML files that describe data."""
    (folder / "a.yaml").write_bytes(data)
    read_yaml(folder / "a.yaml")


CHUNK = b'["a b", [["c d", -1.5], ["e", -2]]]\n["f", [["g", -0.1]]]\n'


@fuzz(st.one_of(files, like(CHUNK)), st.booleans())
def test_work_folders(folder, data, sealed):
    """chunks of unfinished translations."""
    work = WorkFolder(folder, {"source_language": "en", "target_language": "de"})
    work.path.mkdir(parents=True)
    head = json.dumps({"format": 1, "sha256": hashlib.sha256(data).hexdigest()}).encode() + b"\n"
    (work.path / "a.jsonl").write_bytes(head + data if sealed else data)
    with contextlib.redirect_stderr(io.StringIO()):
        for _ in work.known():
            pass


@fuzz(texts)
def test_cells(folder, text):
    """cells, texts written as bytes, literals."""
    assert unescape(escape(text)) == text
    for read in (unescape, literal):
        with contextlib.suppress(ValueError):
            read(text)
    undone_bytes(text)
    undone_bytes("b'" + text)


store_schema = functools.cache(hydra_init)  # it takes a tenth of a second, and stays


@functools.cache
def search_path():
    """Hydra's, with the installed recipes."""
    import fairseq_musc.registration  # noqa: F401

    Plugins.instance()
    path = ConfigSearchPathImpl()
    path.append("hydra", "pkg://hydra.conf")
    path.append("fairseq-musc", f"file://{tempfile.mkdtemp()}")
    return path


parts = st.dictionaries(st.sampled_from(["task", "model", "hydra", "common", "defaults", "optimizer", "x"]), values)
RECIPE = (Path(fairseq_musc.configs.__path__[0]) / "musc_pawsx.yaml").read_bytes()
recipes = parts.map(lambda said: json.dumps({"criterion": {"_name": "musc"}, **said}).encode())


@fuzz(
    st.one_of(files, recipes, like(RECIPE)),
    st.lists(st.one_of(texts, st.sampled_from(["x=1", "+a.b=c", "~task", "a=[1,", "{"]))),
    slower=50,
)
def test_recipes(folder, data, overrides):
    """recipes."""
    (folder / "musc_fuzz.yaml").write_bytes(data)
    try:
        arguments = get_args(["--config-dir", str(folder), "--config-name", "musc_fuzz", *overrides])
    except SystemExit:
        return  # an option that Hydra does not have
    store_schema("musc_fuzz")
    check_command(search_path(), arguments)


HARMLESS = [verb for verb in VERBS if verb not in ("demo-data", "new-encoder", "train-translator", "user-dir")]


OPTIONS = (
    *(
        "--help",
        "--predictions",
        "--output",
        "--corpora",
        "--data",
        "--checkpoint",
        "--languages",
        "--table",
        "--input",
    ),
    *(
        "--dataset",
        "--raw",
        "--format",
        "csv",
        "pawsx",
        "a",
        ".",
        "--save-dir",
        "0",
        "-1",
        "nan",
        "\ud800",
        "a\0b",
        "--",
    ),
)
words = st.lists(st.one_of(st.sampled_from(OPTIONS), st.text(max_size=4)), max_size=7)


@fuzz(st.sampled_from([*HARMLESS, "x", ""]), words, slower=10)
def test_command_lines(folder, verb, words):
    """command lines."""
    here = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            status = main([verb, *words])
    except SystemExit as error:
        status = error.code
    finally:
        os.chdir(here)
    assert status in (0, 2)


def test_parquet_that_is_damaged_in_its_rows(tmp_path, promise):
    """Each byte before the end of the file, where the columns stand; pyarrow finds it out when it reads rows."""
    pytest.importorskip("pyarrow")
    whole, found = parquet(), 0
    rows = len(whole) - int.from_bytes(whole[-8:-4], "little") - 8
    for place in range(4, rows):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        try:
            records_of(tmp_path, ("parquet", bytes(damaged)))
        except InputError as error:
            found += "a.parquet" in str(error)
    assert found > rows // 3
    promise("hostile text", "a Parquet file with one byte changed among its rows", rows - 4)


def records_of(folder, given_file):
    next(reader for reader in READERS if "one's own" in reader.name).function(folder, given_file, "")


@pytest.mark.parametrize("depth", [10, 100_000])
def test_deep_nesting(tmp_path, depth):
    """What hypothesis does not make: JSON, YAML and literals nested as deep as they like."""
    for path, data in (
        ("databin.json", "[" * depth),
        ("T_tst.de.json", '{"a":' * depth),
        ("a.yaml", "[" * min(depth, 5000)),
    ):
        (tmp_path / path).write_text(data)
    for read in (
        lambda: DataBinInfo.load(tmp_path),
        lambda: read_corpus(tmp_path, "T_tst", "de"),
        lambda: read_predictions(tmp_path, "T_tst", "de"),
        lambda: read_yaml(tmp_path / "a.yaml"),
    ):
        with pytest.raises(InputError):
            read()
    with pytest.raises(ValueError, match="literal"):
        literal("(" * depth)
    assert undone_bytes("b'" + "(" * depth) is None


def laughs(levels, merged):
    """YAML of some lines whose aliases stand for ten to the power of ``levels`` values."""
    rows = ["a0: &a0 {x: 1, y: 2}" if merged else f"a0: &a0 [{', '.join('x' * 10)}]"]
    for level in range(1, levels):
        ten = ", ".join([f"*a{level - 1}"] * 10)
        rows.append(f"a{level}: &a{level} " + (f"{{<<: [{ten}]}}" if merged else f"[{ten}]"))
    return "\n".join(rows).encode() + b"\n"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("merged", [False, True], ids=["lists", "merged"])
def test_aliases_that_stand_for_a_billion_values_are_refused(tmp_path, merged, promise):
    data = laughs(9, merged)
    assert len(data) < 1000
    (tmp_path / "a.yaml").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.yaml: its aliases stand for more than 100,000 values"):
        read_yaml(tmp_path / "a.yaml")
    store_schema("musc_fuzz")
    for head in (data, b"defaults: [a]\n"):  # in the recipe itself, and in a file that it takes in
        (tmp_path / "musc_fuzz.yaml").write_bytes(head + b"criterion: {_name: musc}\n")
        arguments = get_args(["--config-dir", str(tmp_path), "--config-name", "musc_fuzz"])
        with pytest.raises(InputError, match=r"\.yaml: its aliases stand for more than"):
            check_command(search_path(), arguments)
    (tmp_path / "a.yaml").write_bytes(b"a: &a [*a]\n")
    with pytest.raises(InputError, match="a part of"):
        read_yaml(tmp_path / "a.yaml")
    promise("hostile text", "YAML whose aliases stand for a billion values", 3)


def test_aliases_that_are_meant_are_read(tmp_path):
    (tmp_path / "a.yaml").write_bytes(YAML)
    assert read_yaml(tmp_path / "a.yaml").valid_file == read_yaml(tmp_path / "a.yaml").train_file


def test_numbers_of_thousands_of_digits_are_refused(tmp_path):
    for key in ("labels", "name", "x", "languages"):
        (tmp_path / "a.yaml").write_bytes(f"format: csv\n{key}: [0x{'f' * 9000}]\n".encode())
        with pytest.raises(InputError, match=r"thousands of digits|no key 'x'"):
            read_yaml(tmp_path / "a.yaml")
