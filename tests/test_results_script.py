"""The script that makes the tables of docs/results, at its tiny size on real reviews."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
SCRIPT = ROOT / "scripts" / "results.sh"


def script(*arguments, **environment):
    return subprocess.run(
        [SCRIPT, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_a_set_or_a_part_that_is_not_there_is_named(tmp_path):
    there = {"ENCODER": "e", "TRANSLATOR": "t"}
    assert "usage:" in script().stderr
    assert "ENCODER: is to be the folder of an encoder" in script("3", "pawsx", "raw", tmp_path, "tiny").stderr
    for arguments, said in (
        (("3", "marc", "raw", tmp_path, "tiny"), "SET is 'marc'"),
        (("3", "pawsx", "raw", tmp_path, "huge"), "SIZE is 'huge'"),
    ):
        done = script(*arguments, **there)
        assert (done.returncode, said in done.stderr) == (2, True)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "cls").is_dir(), reason="needs the real reviews of ../shared/data")
def test_tables_3_and_5_with_two_numbers_of_rows(tmp_path):
    """Some minutes: a translator, 5 trainings of the grid, 5 for each number of rows."""
    options = {"OMP_NUM_THREADS": "2", "LANGUAGES": "en de fr ja"}
    made = subprocess.run(
        [ROOT / "scripts" / "m2m_small.sh", SHARED / "parallel", "-", tmp_path, "tiny"],
        env={**os.environ, **options},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    encoder = ["--output", tmp_path / "encoder", "--text", SHARED / "parallel" / "en-ko.tsv.gz", "--vocab-size", 2000]
    encoder += ["--hidden-size", 32, "--layers", 1, "--heads", 2, "--intermediate-size", 64]
    subprocess.run(["fairseq-musc", "new-encoder", *map(str, encoder)], check=True)
    options |= {
        "ENCODER": str(tmp_path / "encoder"),
        "TRANSLATOR": str(tmp_path / "translator"),
        "ROWS": "10 all",
        "SEEDS": "1",
    }
    for part in ("5", "3", "weights"):
        done = script(part, "cls_books", SHARED / "cls", tmp_path, "tiny", **options)
        assert done.returncode == 0, done.stderr[-3000:]
    results = tmp_path / "cls_books" / "results"
    for rows, count in (("10", 10), ("all", 20)):
        assert f"- rows of S_trn: {count}\n" in (results / rows / "table5.md").read_text(encoding="utf-8")
        assert {path.name for path in (results / rows).glob("*.md")} >= {
            *("table3.md", "table5.md", "ens-t_tst.md", "ens-s_tst_mt.md"),
            *(f"{terms}-ce.md" for terms in ("ce+sc", "ce+mu", "ce+sc+mu", "ce+mu+sc+musc")),
        }
    assert "Ens_w.de" in (results / "weights.txt").read_text(encoding="utf-8")
    assert {path.name for path in results.glob("grid-*.md")} == {
        f"grid-{terms}.md" for terms in ("ce", "ce+sc", "ce+mu", "ce+sc+mu", "ce+mu+sc+musc")
    }
