"""Files and folders appear whole or not at all."""

import hashlib
import os

import pytest

from fairseq_musc.errors import InputError
from fairseq_musc.files import folder_written_whole, sha256, write_json, written_whole


def test_a_block_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "table.tsv"
    with written_whole(path) as stream:
        stream.write("old\r\n")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), written_whole(path) as stream:
        _ = stream.write("half of the ne") / 0
    assert path.read_bytes() == b"old\r\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_fails_is_not_there_and_one_that_is_there_is_not_replaced(tmp_path):
    path = tmp_path / "new" / "folder"
    with pytest.raises(ZeroDivisionError), folder_written_whole(path) as partial:
        _ = (partial / "a").write_text("a") / 0
    assert list(path.parent.iterdir()) == []
    with folder_written_whole(path) as partial:
        (partial / "a").write_text("a")
        assert not path.exists()
    assert (path / "a").read_text() == "a"
    with pytest.raises(InputError, match="exists"), folder_written_whole(path):
        pass
    assert (path / "a").read_text() == "a"


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        write_json(tmp_path / "a.json", {"é": 1})
        with folder_written_whole(tmp_path / "folder") as partial:
            (partial / "secret").touch(mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "folder" / "secret").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n "é": 1\n}\n'


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
