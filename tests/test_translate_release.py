"""The folder of a translator: which files, which languages."""

import pytest

from fairseq_musc.errors import InputError
from fairseq_musc.translate.release import open_translator

FILES = ["model_dict.128k.txt", "data_dict.128k.txt", "spm.128k.model", "language_pairs_small_models.txt"]


def folder_with(path, *names):
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).write_bytes(b"x")
    return path


@pytest.mark.parametrize("checkpoint", ["model.pt", "418M_last_checkpoint.pt", "1.2B_last_checkpoint.pt"])
def test_the_published_names(tmp_path, checkpoint):
    translator = open_translator(folder_with(tmp_path, checkpoint, *FILES))
    assert translator.checkpoint == tmp_path / checkpoint
    assert list(translator.sha256) == [checkpoint, *FILES]
    assert set(translator.sha256.values()) == {"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}


def test_all_missing_files_are_said_at_once_with_their_addresses(tmp_path):
    with pytest.raises(InputError) as error:
        open_translator(folder_with(tmp_path, "spm.128k.model", "model_dict.128k.txt"))
    message = str(error.value)
    assert "lacks 3 of the 5 files" in message
    assert "https://dl.fbaipublicfiles.com/m2m_100/418M_last_checkpoint.pt" in message
    assert "https://dl.fbaipublicfiles.com/m2m_100/data_dict.128k.txt" in message
    assert "https://dl.fbaipublicfiles.com/m2m_100/language_pairs_small_models.txt" in message
    assert "spm.128k" not in message
    assert "examples/m2m_100" in message


def test_no_folder_and_two_checkpoints(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        open_translator(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"model\.pt and 418M_last_checkpoint\.pt"):
        open_translator(folder_with(tmp_path, "model.pt", "418M_last_checkpoint.pt", *FILES))


def test_a_language_needs_a_token_and_a_direction(tmp_path):
    folder_with(tmp_path, "model.pt", *FILES)
    (tmp_path / FILES[0]).write_text("▁de 5\n__de__x 1\n__en__ 1\n__fr__ 1\n__zh__ 1\n__not_one 3\nmadeupword0000 0\n")
    (tmp_path / FILES[3]).write_text("en-fr,fr-en,en-ja,zh-en\n")
    translator = open_translator(tmp_path)
    assert translator.languages == ["en", "fr", "zh"]
    translator.require(["en", "zh"])
    with pytest.raises(InputError, match="does not know de, ja; it knows en, fr, zh"):
        translator.require(["ja", "en", "de"])
