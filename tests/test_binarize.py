"""Corpora to data-bin: ids, counts, and what is refused."""

import json
import shutil

import pytest
import tiny
from transformers import AutoTokenizer

from fairseq_musc.cli import main
from fairseq_musc.data.corpus import read_corpus
from fairseq_musc.data.databin import DataBinInfo, open_corpus
from fairseq_musc.data.tokenizer import fingerprint, load_tokenizer
from fairseq_musc.errors import InputError


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
    from fairseq.data import data_utils, indexed_dataset

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
    about.write_text(about.read_text().replace('"rows": 21', '"rows": 22'))
    with pytest.raises(InputError, match=r"counts 22 rows, there are 21"):
        open_corpus(tmp_path / "bin", "T_tst", "de")


def test_what_is_stopped_in_the_middle_leaves_nothing(world, tmp_path, monkeypatch, capsys):
    import fairseq_musc.data.binarize as room

    real = room.encoded_rows

    def stops(*args):
        for number, row in enumerate(real(*args)):
            if number == 5:
                raise KeyboardInterrupt
            yield row

    monkeypatch.setattr(room, "encoded_rows", stops)
    words = ["binarize", "--corpora", str(world.corpora), "--data", str(tmp_path), "--tokenizer", str(world.encoder)]
    assert main(words) == 130
    assert "fairseq-musc binarize: stopped; what is written is whole" in capsys.readouterr().err.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"databin.json", "tokenizer"}


def test_databin_of_another_version(world, tmp_path):
    shutil.copytree(world.data, tmp_path / "bin")
    values = json.loads((tmp_path / "bin" / "databin.json").read_text())
    (tmp_path / "bin" / "databin.json").write_text(json.dumps({**values, "format": 9}))
    with pytest.raises(InputError, match="another version"):
        DataBinInfo.load(tmp_path / "bin")
    with pytest.raises(InputError, match="no data-bin"):
        DataBinInfo.load(tmp_path)
