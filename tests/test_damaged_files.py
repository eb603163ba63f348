"""Files that were changed or cut are found, by name, before anything is printed; none is left by halves."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from fairseq_musc.cli import main
from fairseq_musc.data.binarize import binarize_corpus
from fairseq_musc.data.corpus import read_about, read_corpus, rows_of
from fairseq_musc.data.databin import DataBinInfo, open_corpus
from fairseq_musc.data.tokenizer import load_tokenizer
from fairseq_musc.errors import InputError
from fairseq_musc.evaluate.table import Predictions, Signature, read_predictions, write_predictions
from fairseq_musc.files import write_json, written_whole


def table(language="de", rows=12):
    values = {"checkpoint": "checkpoint_best.pt", "checkpoint_sha256": "0" * 64, "update": 3, "seed": 1, "version": "0"}
    signature = Signature("pawsx", "T_tst", language, labels=("0", "1"), **values)
    p = np.random.default_rng(0).dirichlet([1, 1], rows)
    return Predictions(signature, [f"s{i}" for i in range(rows)], np.arange(rows) % 2, p)


def harmed(data, rng, how):
    """Bytes with one bit flipped, or without their end."""
    place = rng.randrange(len(data))
    if how == "cut":
        return data[:place]
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def same(one, other):
    """Whether two things read are the same in all that a result is made of."""
    if isinstance(one, DataBinInfo):
        return one == other
    if isinstance(one, Predictions):
        arrays = ("labels", "probabilities")
        known = one.signature == other.signature and list(one.ids) == list(other.ids)
    else:
        arrays = ("sizes", "labels", "first_lengths", "all_tokens", "starts")
        known = list(one.ids) == list(other.ids) and one.about["provenance"] == other.about["provenance"]
    return known and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)


@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_data_bin(world, tmp_path, how, promise):
    """Every file of it. What is not found has changed nothing that is read: white space, the name of the checksum."""
    folder = tmp_path / "bin"
    shutil.copytree(world.data, folder)
    rng = random.Random(1)
    times = unnamed = 0
    for name in [*(f"T_tst.de{suffix}" for suffix in (".bin", ".idx", ".rows.npy", ".ids", ".json")), "databin.json"]:
        path = folder / name

        def read(name=name):
            return DataBinInfo.load(folder) if name == "databin.json" else open_corpus(folder, "T_tst", "de")

        whole, before = path.read_bytes(), read()
        for _ in range(60):
            path.unlink()  # what was read from it is mapped into memory
            path.write_bytes(harmed(whole, rng, how))
            times += 1
            try:
                assert same(read(), before), (name, path.read_bytes())
            except InputError as error:
                unnamed += str(folder) not in str(error)
        path.write_bytes(whole)
    assert not unnamed
    promise("whole files", f"a file of a data-bin {how}", times)


@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_corpus(world, tmp_path, how, promise):
    """What stands beside the rows, too: in which language they are, what made them from what."""
    folder = tmp_path / "corpora"
    shutil.copytree(world.corpora, folder)
    rng = random.Random(3)
    before = read_corpus(folder, "S_tst_MT", "de")
    times = unnamed = 0
    for name in ("S_tst_MT.de.tsv", "S_tst_MT.de.json"):
        whole = (folder / name).read_bytes()
        for _ in range(300):
            (folder / name).write_bytes(harmed(whole, rng, how))
            times += 1
            try:
                assert read_corpus(folder, "S_tst_MT", "de") == before, (folder / name).read_bytes()
            except InputError as error:
                unnamed += "S_tst_MT.de" not in str(error)
        (folder / name).write_bytes(whole)
    assert not unnamed
    promise("whole files", f"a corpus {how}", times)


@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_predictions_table(tmp_path, how, promise):
    path = write_predictions(tmp_path, table())
    rng = random.Random(2)
    before = read_predictions(tmp_path, "T_tst", "de")
    times = unnamed = 0
    for each in (path, path.with_suffix(".json")):
        whole = each.read_bytes()
        for _ in range(300):
            each.write_bytes(harmed(whole, rng, how))
            times += 1
            try:
                assert same(read_predictions(tmp_path, "T_tst", "de"), before), each.read_bytes()
            except InputError as error:
                unnamed += "T_tst.de" not in str(error)
        each.write_bytes(whole)
    assert not unnamed
    promise("whole files", f"a predictions table {how}", times)


def test_nothing_is_printed_of_a_changed_table(tmp_path, capsys):
    path = write_predictions(tmp_path, table())
    path.write_bytes(path.read_bytes().replace(b"0.", b"0,", 1))
    assert main(["report", "--predictions", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "T_tst.de.tsv has changed" in told.err


def test_a_table_that_says_it_is_another_is_not_read(tmp_path):
    path = write_predictions(tmp_path, table())
    for suffix in (".tsv", ".json"):
        path.with_suffix(suffix).rename(tmp_path / f"T_tst.fr{suffix}")
    with pytest.raises(InputError, match=r"it is of T_tst\.de"):
        read_predictions(tmp_path, "T_tst", "fr")


@pytest.mark.parametrize("language", ["../../elsewhere", "/elsewhere", "a\\b", "d\0e", "", ".hidden", "de\n"])
def test_a_language_cannot_lead_elsewhere(world, tmp_path, language, promise):
    """Strangers' corpora and tables say their own language; files are named by it."""
    with pytest.raises(InputError, match="is no language"):
        write_predictions(tmp_path / "a", table(language))
    shutil.copytree(world.corpora, tmp_path / "corpora")
    said = {**read_about(world.corpora, "T_tst", "de"), "language": language}
    write_json(tmp_path / "corpora" / "T_tst.de.json", said)
    with pytest.raises(InputError, match="T_tst"):
        read_corpus(tmp_path / "corpora", "T_tst", "de")
    rows = rows_of(world.corpora, "T_tst", "de", said)
    info, tokenizer = DataBinInfo.load(world.data), load_tokenizer(str(world.data / "tokenizer"))
    with pytest.raises(InputError, match="is no language"):
        binarize_corpus(tmp_path, said, rows, info, tokenizer, lambda n: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpora"]
    promise("whole files", "a language that leads to another folder", 3)


# --- a full disk, a read-only folder ---------------------------------------------------------------------------------

FULL = """
import resource, signal, sys
from fairseq_musc.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


def fill(size, *arguments):
    """A verb where no file can grow beyond ``size`` bytes: writing fails as on a full disk, with another error."""
    command = [sys.executable, "-P", "-c", FULL, str(size), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_full_disk_leaves_nothing_by_halves(world, tmp_path, promise):
    binarize = ["binarize", "--corpora", world.corpora, "--data", tmp_path / "bin", "--tokenizer", world.encoder]
    verbs = [(4000, ["demo-data", "--output", tmp_path / "raw"]), (1500, binarize)]
    for size, command in verbs:
        ended = fill(size, *command)
        assert ended.returncode == 2, ended.stderr
        assert "File too large" in ended.stderr
        assert "Traceback" not in ended.stderr
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in left if ".partial" in str(path) or path.name.startswith("T_")], left
    promise("whole files", "a disk that is full while a verb writes", len(verbs))


def test_a_full_disk_keeps_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"), written_whole(path) as stream:
            stream.write("x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == '{\n "a": 1\n}\n'


@pytest.mark.parametrize("harm", ["locked", "no folder"])
def test_a_folder_that_cannot_be_written_to(world, tmp_path, capsys, harm):
    if harm == "locked" and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    place = tmp_path / "place"
    place.mkdir(mode=0o500) if harm == "locked" else place.write_text("")
    command = ["binarize", "--corpora", str(world.corpora), "--tokenizer", str(world.encoder)]
    assert main([*command, "--data", str(place / "bin")]) == 2
    assert ("Permission denied" if harm == "locked" else "Not a directory") in capsys.readouterr().err
