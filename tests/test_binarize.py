"""Corpora to data-bin: ids, counts, and what is refused."""

import hashlib
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from fairseq.data import indexed_dataset
from transformers import AutoTokenizer

import fairseq_musc.data.binarize as room
from fairseq_musc.cli import main
from fairseq_musc.data.corpus import Row, escape, read_about, read_corpus, write_corpus
from fairseq_musc.data.databin import DataBinInfo, RowIds, check_views_aligned, open_corpus
from fairseq_musc.data.indexed_writer import IndexedWriter, dtype_of
from fairseq_musc.data.tokenizer import encoder_of, fingerprint, load_tokenizer
from fairseq_musc.errors import InputError
from fairseq_musc.files import crc32, read_sealed_json, write_sealed_json


def binarize(*args):
    return main(["binarize", *map(str, args)])


def test_ids_are_the_tokenizer_s_own_and_rows_are_counted(world):
    tokenizer = AutoTokenizer.from_pretrained(world.encoder)
    corpus = read_corpus(world.corpora, "T_trn_MT", "de")
    binarized = open_corpus(world.data, "T_trn_MT", "de")
    assert len(binarized) == len(corpus.rows) == 37
    assert binarized.ids == corpus.ids
    for i, row in enumerate(corpus.rows):
        expected = tokenizer(row.text, row.text_pair)
        assert binarized.tokens[i].tolist() == expected["input_ids"]
        assert binarized.first_lengths[i] == expected["token_type_ids"].count(0)
        assert binarized.labels[i] == int(row.label)


def test_fairseq_s_own_reader_opens_it(world):
    from fairseq.data import data_utils

    assert indexed_dataset.infer_dataset_impl(str(world.data / "S_trn.en")) == "mmap"
    assert len(data_utils.load_indexed_dataset(str(world.data / "S_trn.en"), None)) == 37


def test_long_rows_are_cut_as_the_tokenizer_cuts_and_counted(world, tmp_path, capsys):
    args = ("--corpora", world.corpora, "--data", tmp_path, "--tokenizer", world.encoder)
    assert binarize(*args, "--max-length", 12) == 0
    tokenizer = AutoTokenizer.from_pretrained(world.encoder)
    corpus, binarized = read_corpus(world.corpora, "T_tst", "de"), open_corpus(tmp_path, "T_tst", "de")
    full = [len(tokenizer(row.text, row.text_pair)["input_ids"]) for row in corpus.rows]
    for i, row in enumerate(corpus.rows):
        expected = tokenizer(row.text, row.text_pair, truncation="longest_first", max_length=12)["input_ids"]
        assert binarized.tokens[i].tolist() == expected
    assert binarized.about["cut"] == sum(length > 12 for length in full) > 0
    assert f"T_tst.de: {binarized.about['cut']} of 21 rows" in capsys.readouterr().out


@pytest.mark.parametrize("length", [-5, 0, 1, 3])
def test_a_length_that_leaves_no_room_for_text_is_refused(world, tmp_path, capsys, length):
    args = ("--corpora", world.corpora, "--data", tmp_path / "bin", "--tokenizer", world.encoder)
    assert binarize(*args, "--max-length", length) == 2
    assert f"--max-length is {length}; a row of these corpora has 3 tokens" in capsys.readouterr().err
    assert not (tmp_path / "bin").exists()
    assert binarize(*args, "--max-length", 4) == 0
    assert open_corpus(tmp_path / "bin", "S_trn", "en").sizes.max() == 4


def test_a_second_call_keeps_what_is_there_and_adds_what_is_new(world, tmp_path):
    corpora = tmp_path / "corpora"
    shutil.copytree(world.corpora, corpora)
    hidden = [corpora / f"S_tst_MT.de.{ending}" for ending in ("tsv", "json")]
    for path in hidden:
        path.rename(tmp_path / path.name)
    assert binarize("--corpora", corpora, "--data", tmp_path / "bin", "--tokenizer", world.encoder) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "bin").glob("*.bin")}
    for path in hidden:
        (tmp_path / path.name).rename(path)
    assert binarize("--corpora", corpora, "--data", tmp_path / "bin") == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "bin").glob("*.bin")}
    assert set(after) - set(before) == {"S_tst_MT.de.bin"}
    assert all(after[name] == time for name, time in before.items())


def test_some_training_rows_are_the_same_ones_of_a_corpus_and_its_translations(world, tmp_path, capsys):
    args = ("--corpora", world.corpora, "--data", tmp_path / "bin", "--tokenizer", world.encoder)
    assert binarize(*args, "--train-rows", 38) == 2
    assert "S_trn.en has 37" in capsys.readouterr().err
    assert binarize(*args, "--train-rows", 12) == 0
    source, target = (open_corpus(tmp_path / "bin", *which) for which in (("S_trn", "en"), ("T_trn_MT", "de")))
    rows = read_corpus(world.corpora, "S_trn", "en").rows
    expected = sorted(
        [place for label in "01" for place in [n for n, row in enumerate(rows) if row.label == label][:6]]
    )
    assert [*source.ids] == [*target.ids] == [rows[place].id for place in expected]
    assert sorted(source.labels.tolist()) == [0] * 6 + [1] * 6
    whole = open_corpus(world.data, "S_trn", "en")
    assert source.tokens[3].tolist() == whole.tokens[expected[3]].tolist()
    assert source.about["source_sha256"] != whole.about["source_sha256"]
    assert len(open_corpus(tmp_path / "bin", "T_tst", "de")) == len(open_corpus(world.data, "T_tst", "de"))
    before = (tmp_path / "bin" / "S_trn.en.bin").stat().st_mtime_ns
    assert binarize(*args, "--train-rows", 12) == 0
    assert (tmp_path / "bin" / "S_trn.en.bin").stat().st_mtime_ns == before
    assert binarize(*args) == 0
    assert len(open_corpus(tmp_path / "bin", "S_trn", "en")) == 37


def test_translations_of_texts_that_have_changed_since_are_refused(world, tmp_path, capsys):
    """Read anew from another column, say: the ids and labels are the same, so that nothing behind would see it."""
    corpora = tmp_path / "corpora"
    shutil.copytree(world.corpora, corpora)
    for name, source in (("S_trn_MT", "T_trn"), ("T_trn_BT", "S_trn_MT"), ("S_tst_MT", "T_tst")):
        made_from = {"made_from": f"{source}.de", "made_from_sha256": read_about(corpora, source, "de")["sha256"]}
        write_corpus(corpora, replace(read_corpus(corpora, name, "de"), provenance=made_from))
    args = ("--corpora", corpora, "--data", tmp_path / "bin", "--tokenizer", world.encoder)
    assert binarize(*args) == 0
    for name in ("T_trn", "T_tst"):
        there = read_corpus(corpora, name, "de")
        write_corpus(corpora, replace(there, rows=[row._replace(text=f"{row.text} dew1") for row in there.rows]))
    assert binarize(*args) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"fairseq-musc binarize: error: there are translations in {corpora} of texts that have changed since; "
        "translate again:",
        "  - S_trn_MT.de was made from another T_trn.de than is there",
        "  - S_tst_MT.de was made from another T_tst.de than is there",
    ]
    assert binarize(*args, "--only", "T_trn_BT") == 2
    assert "S_trn_MT.de was made from another T_trn.de" in capsys.readouterr().err
    assert binarize(*args, "--only", "T_tst", "T_trn_MT") == 0
    shutil.copytree(corpora, corpora / "nbest2", ignore=lambda _, names: [n for n in names if "S_tst_MT" not in n])
    second = ("--corpora", corpora / "nbest2", "--data", tmp_path / "second", "--tokenizer", world.encoder)
    assert binarize(*second) == 2
    assert "S_tst_MT.de was made from another T_tst.de than is there" in capsys.readouterr().err
    (corpora / "T_tst.de.json").unlink()
    assert binarize(*second) == 0
    assert binarize(*args, "--only", "S_tst_MT") == 0


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".rows.npy", ".ids", ".json"])
def test_what_has_changed_is_made_again_by_the_same_command(world, tmp_path, suffix):
    """As the error says that sends the user here."""
    data = tmp_path / "bin"
    shutil.copytree(world.data, data)
    path = data / f"T_tst.de{suffix}"
    whole = path.read_bytes()
    for harmed in (whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:], whole[:-3], None):
        path.unlink()
        if harmed is not None:
            path.write_bytes(harmed)
        with pytest.raises(InputError, match="inarize"):
            open_corpus(data, "T_tst", "de")
        before = {other.name: other.stat().st_mtime_ns for other in data.glob("*.bin")}
        assert binarize("--corpora", world.corpora, "--data", data) == 0
        assert (
            open_corpus(data, "T_tst", "de").tokens[3].tolist()
            == open_corpus(world.data, "T_tst", "de").tokens[3].tolist()
        )
        after = {other.name: other.stat().st_mtime_ns for other in data.glob("*.bin")}
        assert {name for name in after if after[name] != before.get(name)} == {"T_tst.de.bin"}


@pytest.mark.parametrize(
    ("labels", "number", "places"),
    [("aaabbb", 4, [0, 1, 3, 4]), ("aaabbb", 3, [0, 1, 3]), ("aaaaab", 4, [0, 1, 2, 5]), ("ba", 1, [0])],
)
def test_classes_share_the_rows_that_are_taken(labels, number, places):
    assert room.first_of_each_class(labels, number) == places


def test_another_tokenizer_is_refused_with_both_numbers(world, tmp_path, capsys):
    tiny.make_encoder(tmp_path / "other", words=["one", "two", "three"])
    shutil.copytree(world.data, tmp_path / "bin")
    before = sorted(path.name for path in (tmp_path / "bin").iterdir())
    assert binarize("--corpora", world.corpora, "--data", tmp_path / "bin", "--tokenizer", tmp_path / "other") == 2
    message = capsys.readouterr().err
    assert "another tokenizer" in message
    assert "128 ids" in message
    assert "8 ids" in message
    assert sorted(path.name for path in (tmp_path / "bin").iterdir()) == before


def test_the_fingerprint_sees_more_than_the_vocabulary(tmp_path):
    from transformers import BertTokenizerFast

    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "Hello", "my", ",", "!"]))
    cased, uncased = (BertTokenizerFast(str(vocabulary), do_lower_case=lower) for lower in (False, True))
    cased.save_pretrained(tmp_path / "saved")
    assert cased.get_vocab() == uncased.get_vocab()
    assert fingerprint(cased) == fingerprint(load_tokenizer(str(tmp_path / "saved")))
    assert fingerprint(cased) != fingerprint(uncased)


def test_a_missing_tokenizer_and_a_missing_folder(world, tmp_path, capsys):
    assert binarize("--corpora", world.corpora, "--data", tmp_path / "bin", "--tokenizer", tmp_path / "nowhere") == 2
    assert "no tokenizer can be loaded" in capsys.readouterr().err
    assert binarize("--corpora", tmp_path, "--data", tmp_path / "bin", "--tokenizer", world.encoder) == 2
    assert "holds no corpora" in capsys.readouterr().err
    assert binarize("--corpora", world.corpora, "--data", tmp_path / "bin") == 2
    assert "--tokenizer" in capsys.readouterr().err
    assert not (tmp_path / "bin").exists()


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".rows.npy", ".ids"])
def test_a_file_cut_short_is_found(world, tmp_path, suffix):
    shutil.copytree(world.data, tmp_path / "bin")
    path = tmp_path / "bin" / f"T_tst.de{suffix}"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(InputError, match="were written; binarize"):
        open_corpus(tmp_path / "bin", "T_tst", "de")


def test_counts_that_do_not_agree_are_found(world, tmp_path):
    shutil.copytree(world.data, tmp_path / "bin")
    about = tmp_path / "bin" / "T_tst.de.json"
    write_sealed_json(about, {**read_sealed_json(about), "rows": 22})
    with pytest.raises(InputError, match=r"counts 22 rows, there are 21"):
        open_corpus(tmp_path / "bin", "T_tst", "de")


@pytest.mark.parametrize("max_length", [128, 12])
def test_bytes_are_those_of_fairseq_s_own_builder_row_by_row(world, tmp_path, monkeypatch, max_length):
    monkeypatch.setattr(room, "BLOCK", 5)  # 37 rows: seven blocks and a rest
    new, old = tmp_path / "new", tmp_path / "old"
    args = ("--corpora", world.corpora, "--data", new, "--tokenizer", world.encoder, "--max-length", max_length)
    assert binarize(*args) == 0
    tokenizer = AutoTokenizer.from_pretrained(world.encoder)
    old.mkdir()
    made = sorted(new.glob("*.bin"))
    assert len(made) == 19
    for path in made:
        name, language = path.stem.split(".")
        corpus = read_corpus(world.corpora, name, language)
        builder = indexed_dataset.MMapIndexedDatasetBuilder(
            str(old / path.name), dtype=indexed_dataset.best_fitting_int_dtype(128)
        )
        rows = []
        for row in corpus.rows:
            taken = tokenizer(row.text, row.text_pair, truncation="longest_first", max_length=max_length)
            builder.add_item(torch.tensor(taken["input_ids"]))
            rows.append((corpus.labels.index(row.label), taken["token_type_ids"].count(0)))
        builder.finalize(str(old / f"{path.stem}.idx"))
        np.save(old / f"{path.stem}.rows.npy", np.array(rows, dtype=np.int32))
        (old / f"{path.stem}.ids").write_text("".join(f"{row.id}\n" for row in corpus.rows))
        for suffix in ("bin", "idx", "rows.npy", "ids"):
            file = f"{path.stem}.{suffix}"
            assert (new / file).read_bytes() == (old / file).read_bytes(), file


@pytest.mark.parametrize("vocab_size", [65499, 65500, 120_000])
def test_the_index_of_wide_ids_is_fairseq_s(tmp_path, vocab_size):
    rows = [[vocab_size - 1, 0, 7], [], [vocab_size - 1]]
    dtype = indexed_dataset.best_fitting_int_dtype(vocab_size)
    builder = indexed_dataset.MMapIndexedDatasetBuilder(str(tmp_path / "old.bin"), dtype=dtype)
    for row in rows:
        builder.add_item(torch.tensor(row, dtype=torch.int64))
    builder.finalize(str(tmp_path / "old.idx"))
    with IndexedWriter(tmp_path / "new.bin", tmp_path / "new.idx", 3, dtype_of(vocab_size)) as writer:
        writer.write(np.array([*rows[0], *rows[1]]), np.array([3, 0]))
        writer.write(np.array(rows[2]), np.array([1]))
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"new{suffix}").read_bytes() == (tmp_path / f"old{suffix}").read_bytes()


def test_an_index_with_fewer_rows_than_announced_is_an_error(tmp_path):
    with (
        pytest.raises(RuntimeError, match="2 rows were announced and 1 written"),
        IndexedWriter(tmp_path / "a.bin", tmp_path / "a.idx", 2, dtype_of(10)) as writer,
    ):
        writer.write(np.array([4, 5]), np.array([2]))


SENTENCES = [
    "Hello, my DOG is cute!",
    "Der Fluß fließt  über 1.234,5 Äcker.",
    "日本語の文です。",
    "",
    "a" * 90,
    "[SEP] x",
]


def made_tokenizer(kind):
    """A fast tokenizer of one of the kinds there are, trained on the sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>"]
    if kind == "byte-level BPE":
        core = Tokenizer(models.BPE())
        core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special)
    else:
        core = Tokenizer(models.Unigram())
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>")
    core.train_from_iterator(SENTENCES, trainer)
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", unk_token="<unk>")


@pytest.mark.parametrize("kind", ["byte-level BPE", "Unigram"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_many_rows_at_once_are_encoded_as_one_by_one(kind, side):
    tokenizer = made_tokenizer(kind)
    tokenizer.truncation_side = side
    rows = [(one, other) for one in SENTENCES for other in SENTENCES]
    for max_length in (12, 400):
        options = {"truncation": "longest_first", "max_length": max_length}
        # in lists of one: by itself, an empty second text would be no text
        pairs = [tokenizer([one], [other], **options)["input_ids"][0] for one, other in rows]
        singles = [tokenizer(row[0], **options)["input_ids"] for row in rows]
        assert [e.ids for e in encoder_of(tokenizer, max_length, pair=True)(rows)] == pairs
        assert [e.ids for e in encoder_of(tokenizer, max_length, pair=False)([row[0] for row in rows])] == singles
        assert max(map(len, pairs)) == 12 if max_length == 12 else max(map(len, pairs)) > 20


def test_rows_are_read_only_a_few_blocks_ahead(world, monkeypatch):
    monkeypatch.setattr(room, "BLOCK", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    taken = 0

    def rows():
        nonlocal taken
        for i in range(1000):
            taken = i + 1
            yield Row(str(i), "0", "w1 w2", "w3")

    blocks = room.encoded_blocks(rows(), DataBinInfo.load(world.data), load_tokenizer(str(world.encoder)))
    names = b""
    for number, block in enumerate(blocks, start=1):
        names += block.names
        assert taken <= 10 * (number + 2)
    assert names.split() == [str(i).encode() for i in range(1000)]


def test_what_is_stopped_in_the_middle_leaves_nothing(world, tmp_path, monkeypatch, capsys):
    real = room.encoded_blocks

    def stops(*args):
        for number, block in enumerate(real(*args)):
            if number == 2:
                raise KeyboardInterrupt
            yield block

    monkeypatch.setattr(room, "BLOCK", 5)
    monkeypatch.setattr(room, "encoded_blocks", stops)
    words = ["binarize", "--corpora", str(world.corpora), "--data", str(tmp_path), "--tokenizer", str(world.encoder)]
    assert main(words) == 130
    assert "fairseq-musc binarize: stopped; what is written is whole" in capsys.readouterr().err.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"databin.json", "tokenizer"}


def test_a_row_that_cannot_be_read_is_named_and_leaves_nothing(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(room, "BLOCK", 5)
    corpora = tmp_path / "corpora"
    shutil.copytree(world.corpora, corpora)
    path = corpora / "T_tst.de.tsv"
    lines = path.read_text().split("\n")
    lines[12] += "\\x"
    path.write_text("\n".join(lines))
    about = read_sealed_json(path.with_suffix(".json"))
    write_sealed_json(path.with_suffix(".json"), {**about, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    args = ("--corpora", corpora, "--data", tmp_path / "bin", "--tokenizer", world.encoder, "--only", "T_tst")
    assert binarize(*args) == 2
    assert "T_tst.de.tsv, line 13: a backslash" in capsys.readouterr().err
    assert not [path.name for path in (tmp_path / "bin").iterdir() if "T_tst.de" in path.name]


def test_ids_come_back_from_disk_whatever_they_hold(tmp_path):
    given = ["a", "tab\tand\nline", "back\\slash", "", "größe 日本", "z" * 300]
    path = tmp_path / "x.ids"
    path.write_bytes("".join(f"{escape(one)}\n" for one in given).encode())
    ids = RowIds(path)
    assert len(ids) == 6
    assert list(ids) == given
    assert [ids[i] for i in range(-6, 6)] == given * 2
    assert ids[1:6:2] == given[1:6:2]
    assert ids[::-1] == given[::-1]
    assert ids == given
    assert given == ids
    assert ids != given[:5]
    with pytest.raises(IndexError):
        ids[6]
    path.write_bytes(b"")
    assert list(RowIds(path)) == []


def test_ids_of_two_corpora_are_told_apart(world, tmp_path):
    shutil.copytree(world.data, tmp_path / "bin")
    first, second = (open_corpus(tmp_path / "bin", "T_trn_MT", xx) for xx in ("de", "fr"))
    check_views_aligned([first, second])
    path = tmp_path / "bin" / "T_trn_MT.fr.ids"
    path.write_bytes(path.read_bytes().replace(b"t20\n", b"t99\n"))
    about = path.with_suffix(".json")
    digests = read_sealed_json(about)["crc32s"]
    write_sealed_json(about, {**read_sealed_json(about), "crc32s": {**digests, ".ids": crc32(path)}})
    other = open_corpus(tmp_path / "bin", "T_trn_MT", "fr")
    assert first.ids != other.ids
    with pytest.raises(InputError, match=r"row 21 has id 't20' in T_trn_MT\.de and 't99' in T_trn_MT\.fr"):
        check_views_aligned([first, other])


def test_databin_of_another_version(world, tmp_path):
    shutil.copytree(world.data, tmp_path / "bin")
    values = read_sealed_json(tmp_path / "bin" / "databin.json")
    write_sealed_json(tmp_path / "bin" / "databin.json", {**values, "format": 9})
    with pytest.raises(InputError, match="another version"):
        DataBinInfo.load(tmp_path / "bin")
    with pytest.raises(InputError, match="no data-bin"):
        DataBinInfo.load(tmp_path)


def test_a_data_bin_that_does_not_say_what_it_is_for_is_to_be_removed(world, tmp_path, capsys):
    """Neither can it be added to, nor be begun anew around corpora of which nobody knows the tokenizer."""
    data = tmp_path / "bin"
    shutil.copytree(world.data, data)
    tiny.make_encoder(tmp_path / "other", words=["one", "two", "three"])
    args = ("--corpora", world.corpora, "--data", data, "--tokenizer", tmp_path / "other")
    (data / "databin.json").write_text("{")
    assert binarize(*args) == 2
    assert f"; remove {data} and binarize again" in capsys.readouterr().err
    (data / "databin.json").unlink()
    assert binarize(*args) == 2
    assert "has no databin.json and holds S_trn.en, " in capsys.readouterr().err
    shutil.rmtree(data)
    assert binarize(*args) == 0
