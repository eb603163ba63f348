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

import pytest
from fairseq.dataclass.initialize import hydra_init
from fuzzing import fuzz
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.utils import get_args
from hydra.core.plugins import Plugins
from hypothesis import strategies as st

from fairseq_musc.cli import VERBS, main
from fairseq_musc.data.corpus import escape, read_corpus, unescape
from fairseq_musc.data.databin import DataBinInfo
from fairseq_musc.data.datasets import Columns, Layout
from fairseq_musc.data.forms import RawFile
from fairseq_musc.data.own import read_yaml
from fairseq_musc.data.readers import header_tsv, json_lines, label_text, tsv, undone_bytes
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.runs import find_runs
from fairseq_musc.evaluate.table import read_predictions
from fairseq_musc.files import write_json
from fairseq_musc.literals import literal
from fairseq_musc.models.new_encoder import read_texts
from fairseq_musc.page.training_log import read_log
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


def lines_in(data):
    """How many lines a text file has, the last one without an end included."""
    return data.count(b"\n") + (not data.endswith(b"\n") and bool(data))


@fuzz(files, st.sampled_from(["header_tsv", "tsv", "label_text", "json_lines"]), st.booleans())
def test_raw_files(folder, data, name, may_be_wrong):
    """the readers of raw files as they are published."""
    columns = Columns(None if name == "label_text" else "id", "label", "text")
    header = ("id", "label", "text") if name == "tsv" else ()
    layout = Layout(name, columns, header=header, may_be_wrong=may_be_wrong)
    reader = {"header_tsv": header_tsv, "tsv": tsv, "label_text": label_text, "json_lines": json_lines}[name]
    table = reader(list(io.BytesIO(data)), "file", layout, LABELS)
    kept = len(table.rows) + len(table.wrong) + table.unlabelled
    assert kept == lines_in(data) - (name == "header_tsv"), table


@fuzz(files, st.sampled_from(["csv", "tsv", "jsonl", "parquet"]), st.sampled_from(["", ".gz", ".gz cut"]))
def test_records(folder, data, name, packed):
    """the readers of data of one's own."""
    path = folder / f"a.{name}{packed[:3]}"
    path.write_bytes(gzip.compress(data)[: -9 if "cut" in packed else None] if packed else data)
    raw = RawFile(path, path.name, "en", Layout(name, Columns("id", "label", "text"), records=True))
    from fairseq_musc.data.raw_files import load

    class Any:
        label_of, aligned = LABELS, True

    table = load(raw, Any)
    kept = len(table.rows) + table.unlabelled
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


@fuzz(files, st.booleans())
def test_corpora(folder, data, pair):
    """corpora whose checksum is right."""
    rows = written(folder / "T_tst.de.tsv", data, {**ABOUT, "pair": pair, "provenance": {}})
    assert len(read_corpus(folder, "T_tst", "de").rows) == rows


@fuzz(st.dictionaries(st.sampled_from([*ABOUT, "pair", "provenance", "rows", "sha256"]), values, max_size=3))
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


@fuzz(files, st.lists(st.sampled_from(["0.5", "1", "0", "nan", "-1", "1e999", "x", ""]), max_size=3))
def test_predictions_tables(folder, data, numbers):
    """predictions tables whose checksum is right."""
    header = b"id\tlanguage\tcorpus\tlabel\tp_0\tp_1\n"
    ends = ["\t".join(["", "de", "T_tst", "0", *numbers]).encode()] * 2
    data = header + b"".join(line + ends[0] + b"\n" for line in data.split(b"\n"))
    rows = written(folder / "T_tst.de.tsv", data, {"format": 1, "signature": SIGNATURE})
    assert len(read_predictions(folder, "T_tst", "de").ids) == rows


@fuzz(st.dictionaries(st.sampled_from([*SIGNATURE, "more"]), values, max_size=3), st.one_of(values, st.none()))
def test_signatures(folder, changes, whole):
    """signatures of predictions tables."""
    signature = {**SIGNATURE, **changes} if whole is None else whole
    written(folder / "T_tst.de.tsv", b"id\n", {"format": 1, "signature": signature})
    try:
        find_runs([folder], ["T_tst"])
    finally:
        read_predictions(folder, "T_tst", "de")


@fuzz(st.one_of(files, values.map(lambda value: json.dumps(value).encode())))
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


@fuzz(files)
def test_training_logs(folder, data):
    """training logs."""
    (folder / "train.log").write_bytes(data)
    read_log(folder / "train.log")


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
    again = "".join("\t".join(row) + end for row, end in zip(file.lines, file.ends, strict=True)).encode()
    assert again.rstrip(b"\r\n") == data.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")


@fuzz(files, st.sampled_from(["", ".gz", ".gz raw"]))
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
described = st.dictionaries(st.sampled_from(KEYS), values).map(lambda said: json.dumps(said).encode())


@fuzz(st.one_of(files, described))
def test_descriptions(folder, data):
    """YAML files that describe data."""
    (folder / "a.yaml").write_bytes(data)
    read_yaml(folder / "a.yaml")


@fuzz(files, st.booleans())
def test_work_folders(folder, data, sealed):
    """chunks of unfinished translations."""
    work = WorkFolder(folder, {"source_language": "en", "target_language": "de"})
    work.path.mkdir(parents=True)
    head = json.dumps({"format": 1, "sha256": hashlib.sha256(data).hexdigest()}).encode() + b"\n"
    (work.path / "a.jsonl").write_bytes(head + data if sealed else data)
    with contextlib.redirect_stderr(io.StringIO()):
        work.known()


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
recipes = parts.map(lambda said: json.dumps({"criterion": {"_name": "musc"}, **said}).encode())


@fuzz(
    st.one_of(files, recipes),
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
