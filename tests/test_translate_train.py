"""train-translator: the files of the release, usable by fairseq's own console commands."""

import argparse
import gzip
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sentencepiece
import torch
from translator_fixture import sentences, tiny_arguments, write_parallel

import fairseq_musc.translate.train as room
from fairseq_musc.cli import main
from fairseq_musc.files import sha256
from fairseq_musc.translate import training
from fairseq_musc.translate.parallel import read_parallel
from fairseq_musc.translate.training import average, checkpoints_in, updates_of

pytest_plugins = ["translator_fixture"]


def test_the_folder_has_the_files_of_the_release(translator_folder):
    from fairseq.data import Dictionary

    assert sorted(path.name for path in translator_folder.iterdir()) == [
        "data_dict.128k.txt",
        "language_pairs_small_models.txt",
        "model.pt",
        "model_dict.128k.txt",
        "spm.128k.model",
        "training.json",
    ]
    assert [path.name for path in translator_folder.parent.glob(".*")] == []
    assert (translator_folder / "language_pairs_small_models.txt").read_text() == "en-de,de-en,en-ja,ja-en\n"
    data = Dictionary.load(str(translator_folder / "data_dict.128k.txt"))
    model = Dictionary.load(str(translator_folder / "model_dict.128k.txt"))
    fill = [f"madeupword{i:04d}" for i in range(-(len(data) + 3) % 8)]
    assert model.symbols == [*data.symbols, "__de__", "__en__", "__ja__", *fill]
    spm = sentencepiece.SentencePieceProcessor(model_file=str(translator_folder / "spm.128k.model"))
    assert set(data.symbols[4:]) == {spm.id_to_piece(i) for i in range(3, spm.get_piece_size())}
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(translator_folder / "model.pt", weights_only=True)
    assert state["model"]["encoder.embed_tokens.weight"].shape == (len(model), 32)
    assert state["cfg"]["task"].lang_pairs == ["en-de", "de-en", "en-ja", "ja-en"]


def test_the_record_says_from_what_and_how_good(translator_folder):
    about = json.loads((translator_folder / "training.json").read_text())
    assert list(about["bleu"]) == ["en-de", "de-en", "en-ja", "ja-en"]
    assert about["bleu"]["en-ja"]["lines"] == 5
    assert "tok:char" in about["bleu"]["en-ja"]["signature"]
    assert "tok:13a" in about["bleu"]["ja-en"]["signature"]
    assert about["parallel"]["en-de.tsv"]["sentence_pairs"] == 300
    assert about["settings"]["updates"] == 200


def test_the_console_commands_of_the_m2m_100_page_work_on_it(translator_folder, tmp_path):
    """fairseq-preprocess and fairseq-generate themselves, with SentencePiece's own encoder before them."""
    spm = sentencepiece.SentencePieceProcessor(model_file=str(translator_folder / "spm.128k.model"))
    rows = [row["de"] for row in sentences(13, seed=5)]
    (tmp_path / "spm.de").write_text("".join(" ".join(spm.encode(row, out_type=str)) + "\n" for row in rows))
    made = translator_folder
    binaries = Path(sys.executable).parent

    def console(command, arguments):
        done = subprocess.run([binaries / command, *arguments.split()], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    console(
        "fairseq-preprocess",
        f"--source-lang de --target-lang ja --only-source --testpref spm --thresholdsrc 0 --destdir bin "
        f"--srcdict {made}/data_dict.128k.txt",
    )
    console(
        "fairseq-generate",
        f"bin --path {made}/model.pt --fixed-dictionary {made}/model_dict.128k.txt -s de -t ja "
        f"--remove-bpe sentencepiece --beam 5 --task translation_multi_simple_epoch "
        f"--lang-pairs {made}/language_pairs_small_models.txt --decoder-langtok --encoder-langtok src "
        f"--gen-subset test --batch-size 8 --required-batch-size-multiple 1 --results-path out --max-len-b 20",
    )
    lines = (tmp_path / "out" / "generate-test.txt").read_text().split("\n")
    assert sorted(int(line.split("\t")[0][2:]) for line in lines if line.startswith("D-")) == list(range(13))
    assert sum(line.startswith("S-") and "\t__de__ " in line for line in lines) == 13


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("en-fr.tsv", b"one\tun\nonly one cell\n", r"en-fr\.tsv, line 2: it has 1 cells"),
        ("en-fr.tsv", b"one\tun\ntwo\tdeux\ttrois\n", r"en-fr\.tsv, line 2: it has 3 cells"),
        ("en-fr.tsv", b"one\tun\ntw\xffo\tdeux\n", r"en-fr\.tsv, line 2: 'utf-8' codec"),
        ("en-fr.tsv.gz", b"no gzip", r"en-fr\.tsv\.gz, line 0: Not a gzipped file"),
        ("en-fr.tsv", b"\t\n", r"en-fr\.tsv: it has no sentence pair"),
        ("fr-de.tsv", b"un\teins\n", r"fr-de has 1 lines"),
        ("notes.txt", b"", r"holds no parallel text"),
    ],
)
def test_parallel_text_that_cannot_be_used_leaves_nothing_behind(tmp_path, capsys, name, content, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(content)
    assert main(tiny_arguments(tmp_path / "in", tmp_path / "out")) == 2
    assert re.search(message, capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_output_folder_that_is_there_is_left_alone(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert main(tiny_arguments(tmp_path, tmp_path / "out")) == 2
    assert "exists" in capsys.readouterr().err


def test_a_translator_that_another_run_has_made_meanwhile_is_not_trained_once_more(tmp_path, capsys, monkeypatch):
    """The one that was begun beside it has read the text, and finds its hidden folder gone."""
    write_parallel(tmp_path / "in", 20)

    def read_slowly(*arguments):
        (tmp_path / "out").mkdir()
        return read_parallel(*arguments)

    monkeypatch.setattr(room, "read_parallel", read_slowly)
    monkeypatch.setattr(room, "fairseq_train", None)
    assert main(tiny_arguments(tmp_path / "in", tmp_path / "out", "--held-out", "2")) == 2
    assert "out exists; name a new folder" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_width_that_the_heads_cannot_share(tmp_path, capsys):
    assert main(tiny_arguments(tmp_path, tmp_path / "out", "--heads", "5")) == 2
    assert "--dim 32 is no multiple of --heads 5" in capsys.readouterr().err


def test_numbers_that_cannot_be_are_said_at_once(tmp_path, capsys):
    """Some of them ended in a traceback of fairseq's; a negative learning rate in a translator."""
    wrong = {
        **{"limit": 0, "held-out": -5, "vocabulary": 0, "dim": 0, "ffn-dim": 0, "heads": 0, "encoder-layers": -1},
        **{"decoder-layers": 0, "max-positions": 2, "updates": 0, "warmup": 0, "max-tokens": 0, "longest-trained": 0},
        **{"save-every": 0, "average": 0, "num-workers": -1, "stop-after": -1, "stalled-after": "nan", "lr": -0.1},
        **{"sampling-temperature": 0, "dropout": 1, "label-smoothing": 2},
    }
    options = [f"--{name}={value}" for name, value in wrong.items()]
    assert main([*tiny_arguments(tmp_path, tmp_path / "translator"), *options]) == 2
    said = capsys.readouterr().err.splitlines()
    assert {line.split()[1] for line in said[1:]} == {f"--{name}" for name in wrong}
    assert len(said) == 1 + len(wrong)
    assert not (tmp_path / "translator").exists()


def test_an_engine_that_cannot_read_what_is_made(tmp_path, capsys):
    assert main(tiny_arguments(tmp_path, tmp_path / "out", "--engine", "easynmt")) == 2
    assert "--engine easynmt does not read what is made here; fairseq and ctranslate2 do" in capsys.readouterr().err


def test_held_out_lines_are_translated_by_the_engine_that_is_asked_for(translator_folder, tmp_path, monkeypatch):
    from fairseq_musc.translate import train
    from fairseq_musc.translate.engine import Decoding, Device

    monkeypatch.setenv("FAIRSEQ_MUSC_CACHE", str(tmp_path))
    rows = [(row["en"], row["de"]) for row in sentences(4, seed=9)]
    by = {
        name: train.score_held_out({("en", "de"): rows}, translator_folder, name, Decoding(2, 0, 20), Device(cpu=True))
        for name in ("fairseq", "ctranslate2")
    }
    assert list(tmp_path.glob("ctranslate2-*"))
    assert by["ctranslate2"] == by["fairseq"]
    assert by["fairseq"]["chrf"]["en-de"]["score"] > 0


def test_a_vocabulary_too_small_for_the_characters(tmp_path, capsys):
    write_parallel(tmp_path / "in", 50)
    assert main(tiny_arguments(tmp_path / "in", tmp_path / "out", "--vocabulary", "10")) == 2
    assert "--vocabulary a larger number" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_held_out_sentences_are_not_trained_on(tmp_path):
    from fairseq_musc.translate.parallel import hold_out, read_parallel

    with gzip.open(tmp_path / "en-de.tsv.gz", "wt", encoding="utf-8") as stream:
        stream.writelines(f"e{i % 40}\td{i}\n" for i in range(100))
        stream.write("\tno english\n  spaces \u3000 made  single\tja\n")
    pairs, sources = read_parallel(tmp_path, None, None)
    assert sources["en-de.tsv.gz"]["sentence_pairs"] == 101
    assert sources["en-de.tsv.gz"]["with_an_empty_side"] == 1
    assert pairs["en", "de"][-1] == ("spaces made single", "ja")
    assert len(read_parallel(tmp_path, None, 7)[0]["en", "de"]) == 7
    training, held_out = hold_out(pairs, 10, seed=3)
    assert len(held_out["en", "de"]) == 10
    assert not {row[0] for row in training["en", "de"]} & {row[0] for row in held_out["en", "de"]}
    assert set(training["en", "de"]) <= set(pairs["en", "de"])


def test_a_training_that_diverges_says_so_and_leaves_nothing(tmp_path, capsys):
    """A learning rate that no transformer stands; fairseq itself ends in another exception's traceback."""
    write_parallel(tmp_path / "parallel", 60)
    arguments = tiny_arguments(tmp_path / "parallel", tmp_path / "out")
    arguments[arguments.index("--lr") + 1] = "1e30"
    assert main(arguments) == 2
    assert re.search(r"diverged behind .*Give a smaller --lr", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def told_to_stop(arguments, number):
    """Sends a signal to a training behind its first validation; returns its exit status and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "fairseq_musc.cli", *arguments], stderr=subprocess.PIPE, text=True
    )
    said = ""
    while "perplexity of held-out" not in said:
        said += process.stderr.readline()
        assert process.poll() is None, said
    process.send_signal(number)
    said += process.communicate(timeout=60)[1]
    return process.returncode, said


def test_a_training_that_was_killed_goes_on_where_it_was(tmp_path, capsys, monkeypatch):
    """A real process and a real SIGKILL; then one that its clock stops; then the end for good."""
    write_parallel(tmp_path / "parallel", 60)
    work, output = tmp_path / ".out.training", tmp_path / "out"
    arguments = tiny_arguments(tmp_path / "parallel", output, "--save-every", "5", "--average", "2")
    arguments[arguments.index("--updates") + 1] = "1000000"
    process = subprocess.Popen([sys.executable, "-P", "-m", "fairseq_musc.cli", *arguments])
    try:
        while not list((work / "checkpoints").glob("checkpoint_*_10.pt")):
            assert process.poll() is None
            time.sleep(0.05)
        (trains,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{trains}/cmdline").exists() and Path(f"/proc/{trains}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "fairseq-train outlives the process that started it"
        time.sleep(0.05)
    assert not output.exists()
    (work / ".prepared.1.partial").mkdir()  # what a kill in an earlier step would have left
    reached = max(updates_of(path) for path in checkpoints_in(work / "checkpoints"))

    status, said = told_to_stop(arguments, signal.SIGINT)
    assert status == 130
    assert "stopping behind this update, with a checkpoint" in said
    assert "train-translator: stopped" in said.splitlines()[-1]
    before = max(updates_of(path) for path in checkpoints_in(work / "checkpoints"))
    assert before > reached

    status, said = told_to_stop(arguments, signal.SIGTERM)
    assert status == 143
    assert "stopping behind this update, with a checkpoint" in said
    reached, before = before, max(updates_of(path) for path in checkpoints_in(work / "checkpoints"))
    assert before > reached

    monkeypatch.setattr(training, "time_to_stop", lambda left: left)  # it is told to stop before it begins
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--stop-after", "60"])
    assert stopped.value.code == 3
    assert f"stopped at update {before + 1} of 1000000; the same command goes on" in capsys.readouterr().err
    assert not output.exists()

    assert main([*arguments, "--lr", "0.02", "--dim", "64"]) == 2
    said = capsys.readouterr().err
    assert "dim was 32, asked is 64" in said
    assert "lr was 0.01, asked is 0.02" in said
    write_parallel(tmp_path / "parallel", 61)
    assert main(arguments) == 2
    assert "sha256 of en-de.tsv was" in capsys.readouterr().err
    write_parallel(tmp_path / "parallel", 60)

    assert main([*arguments, "--finish"]) == 0
    about = json.loads((output / "training.json").read_text())
    assert about["updates"] == before + 1
    assert about["averaged"] == [before - before % 5, before + 1]
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_stopped_before_it_begins_it_has_prepared_and_cannot_be_finished(tmp_path, capsys):
    write_parallel(tmp_path / "parallel", 60)
    arguments = tiny_arguments(tmp_path / "parallel", tmp_path / "out")
    with pytest.raises(SystemExit):
        main([*arguments, "--stop-after", "0"])
    assert "stopped at update 0 of 200" in capsys.readouterr().err
    assert main([*arguments, "--finish"]) == 2
    assert "--finish needs a checkpoint" in capsys.readouterr().err
    assert (tmp_path / ".out.training" / "prepared" / "bin" / "train.en-de.de.bin").exists()


def test_the_pieces_are_those_of_the_same_sentences_every_time(tmp_path, monkeypatch):
    """Where there are more of them than SentencePiece is to look at."""
    from fairseq_musc.translate import vocabulary

    monkeypatch.setattr(vocabulary, "SENTENCES_SEEN", 150)
    pairs = {("en", xx): [(row["en"], row[xx]) for row in sentences(100)] for xx in ("de", "ja")}
    sides = [side for rows in pairs.values() for row in rows for side in row]
    places = itertools.count()
    seen = list(vocabulary.sentences_seen(pairs))
    assert len(seen) == 150
    assert all(any(side == sides[place] for place in places) for side in seen)  # in their order
    assert {side.isascii() for side in seen} == {True, False}
    models = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        vocabulary.train_sentencepiece(pairs, 100, 1.0, tmp_path / name)
        models.append((tmp_path / name / "spm.128k.model").read_bytes())
    assert models[0] == models[1] == models[2]


def test_binarized_text_is_that_of_fairseq_preprocess(tmp_path):
    from fairseq_musc.translate.fairseq_commands import binarize
    from fairseq_musc.translate.vocabulary import binarize_pairs, train_sentencepiece, write_dictionaries

    rows = [(row["en"], row["ja"]) for row in sentences(50)]
    rows += [("an unknown char \u2603", "\u732b"), ("dog " * 90, "too long a side")]
    train_sentencepiece({("en", "ja"): rows[:50]}, 100, 1.0, tmp_path)
    write_dictionaries(tmp_path, ["en", "ja"])
    assert binarize_pairs({("en", "ja"): rows}, tmp_path, tmp_path / "ours", "train", 60) == {"en-ja": 51}
    spm = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spm.128k.model"))
    for side, language in enumerate(("en", "ja")):
        lines = [" ".join(spm.encode(row[side], out_type=str)) + "\n" for row in rows[:51]]
        (tmp_path / f"text.{language}").write_text("".join(lines), encoding="utf-8")
    dictionary = tmp_path / "data_dict.128k.txt"
    binarize(tmp_path / "text", "en", "ja", "train", dictionary, tmp_path / "theirs", "--tgtdict", str(dictionary))
    for ending in ("en.bin", "en.idx", "ja.bin", "ja.idx"):
        name = f"train.en-ja.{ending}"
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_the_mean_of_checkpoints_in_their_precision(tmp_path):
    for updates, value in ((5, 1.0), (10, 2.0), (15, 6.0)):
        tied = torch.full((2,), value, dtype=torch.float16)
        state = {
            "model": {"half": tied, "again": tied, "count": torch.tensor(updates)},
            "optimizer_history": [{"num_updates": updates}],
            "last_optimizer_state": {"large": torch.ones(3)},
        }
        torch.save(state, tmp_path / f"checkpoint_1_{updates}.pt")
    torch.save(state, tmp_path / "checkpoint_last.pt")
    (tmp_path / "checkpoint_1_20.pt").write_bytes(b"cut short")
    found = checkpoints_in(tmp_path)
    assert [updates_of(path) for path in found] == [5, 10, 15]
    mean = average(found)
    assert mean["model"]["half"].tolist() == [3.0, 3.0]
    assert mean["model"]["half"].dtype == torch.float16
    assert mean["model"]["again"].data_ptr() == mean["model"]["half"].data_ptr()  # written once
    assert mean["model"]["count"] == 15
    assert "last_optimizer_state" not in mean


def test_the_mean_of_a_training_in_half_precision_as_fairseq_writes_it(tmp_path):
    for updates in (5, 10):
        one, same = (torch.full((2, 3), float(updates)) for _ in range(2))  # tied in training, written apart, in fp32
        state = {"model": {"embeddings": one, "output": same}, "optimizer_history": [{"num_updates": updates}]}
        torch.save(state, tmp_path / f"checkpoint_1_{updates}.pt")
    mean = average(checkpoints_in(tmp_path), half=True)["model"]
    assert mean["embeddings"].tolist() == [[7.5] * 3] * 2
    assert mean["embeddings"].dtype == torch.float16
    assert mean["embeddings"].data_ptr() == mean["output"].data_ptr()


def test_a_translator_is_trained_further(translator_folder, tmp_path, capsys):
    write_parallel(tmp_path / "parallel")
    (tmp_path / "parallel" / "en-ja.tsv").unlink()
    more = (
        "--updates",
        "6",
        "--save-every",
        "3",
        "--lr",
        "0.0001",
        "--warmup",
        "1",
        "--vocabulary",
        "40",
        "--dim",
        "8",
    )

    def made(name, *options):
        arguments = tiny_arguments(tmp_path / "parallel", tmp_path / name, *more, *options)
        assert main(arguments) == 0
        found = re.findall(r"update (\d+)/6  perplexity of held-out ([\d.]+)", capsys.readouterr().err)
        assert [update for update, _ in found] == ["3", "6"]
        return float(found[-1][1])

    further = made("further", "--from-translator", str(translator_folder))
    assert further < made("anew") / 3  # six updates teach nothing
    folder = tmp_path / "further"
    for name in ("spm.128k.model", "data_dict.128k.txt", "model_dict.128k.txt"):
        assert (folder / name).read_bytes() == (translator_folder / name).read_bytes()
    assert (folder / "language_pairs_small_models.txt").read_text() == "en-de,de-en,en-ja,ja-en\n"
    about = json.loads((folder / "training.json").read_text())
    assert about["settings"]["dim"] == 32  # the translator's, not what the command says
    assert about["from_translator"]["model.pt"] == sha256(translator_folder / "model.pt")
    with torch.serialization.safe_globals([argparse.Namespace]):
        old, new = (torch.load(each / "model.pt", weights_only=True)["model"] for each in (translator_folder, folder))
    assert old.keys() == new.keys()
    assert 0 < (old["decoder.layers.0.fc1.weight"] - new["decoder.layers.0.fc1.weight"]).abs().max() < 0.01


def test_a_translator_that_lacks_a_language_is_not_trained_further(translator_folder, tmp_path, capsys):
    write_parallel(tmp_path / "parallel")
    (tmp_path / "parallel" / "en-de.tsv").rename(tmp_path / "parallel" / "en-fr.tsv")
    arguments = tiny_arguments(tmp_path / "parallel", tmp_path / "made", "--from-translator", str(translator_folder))
    assert main(arguments) == 2
    assert "does not know fr; it knows de, en, ja" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
