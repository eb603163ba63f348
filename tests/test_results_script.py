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
        (("6", "pawsx", "raw", tmp_path, "tiny"), "PART is '6'"),
        (("4", "pawsx", "raw", tmp_path, "tiny"), "PART 4 is not for pawsx"),
    ):
        done = script(*arguments, **there)
        assert (done.returncode, said in done.stderr) == (2, True)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["my results", "données", "a(1)", "x[1]", "a=b"])
def test_a_folder_that_would_end_it_after_hours_is_refused_at_once(tmp_path, name):
    """In the middle of it are lists of folders, and overrides."""
    there = {"ENCODER": "e", "TRANSLATOR": "t"}
    all_results = subprocess.run(
        [ROOT / "scripts" / "all_results.sh", SHARED, tmp_path / name, "tiny"], capture_output=True, text=True
    )
    for done in (script("read", "pawsx", "raw", tmp_path / name, "tiny", **there), all_results):
        assert done.returncode == 2
        assert f"the folder '{tmp_path / name}' is to be called by" in done.stderr
    assert script("read", "pawsx", "raw", tmp_path, "tiny", **{**there, "ENCODER": name}).returncode == 2
    assert [*tmp_path.iterdir()] == []


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "encoder"
    sizes = ["--vocab-size", 2000, "--hidden-size", 32, "--layers", 1, "--heads", 2, "--intermediate-size", 64]
    text = ["--text", SHARED / "parallel" / "en-ko.tsv.gz"]
    subprocess.run(["fairseq-musc", "new-encoder", "--output", folder, *text, *map(str, sizes)], check=True)
    return folder


def translator(folder, languages):
    made = subprocess.run(
        [ROOT / "scripts" / "m2m_small.sh", SHARED / "parallel", "-", folder, "tiny"],
        env={**os.environ, "OMP_NUM_THREADS": "2", "LANGUAGES": languages},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    return folder / "translator"


def parts_of(which, raw, folder, encoder, languages, parts, rows, jobs="1"):
    """The folder of results after each part in turn."""
    options = {
        "OMP_NUM_THREADS": "2",
        "ENCODER": str(encoder),
        "TRANSLATOR": str(translator(folder, languages)),
        "ROWS": rows,
        "SEEDS": "1",
        "JOBS": jobs,
    }
    for part in parts:
        done = script(part, which, raw, folder, "tiny", **options)
        assert done.returncode == 0, f"part {part}: {done.stderr[-3000:]}"
    return folder / which / "results"


LOSSES = ("ce", "ce+sc", "ce+mu", "ce+sc+mu", "ce+mu+sc+musc")
EVERY_TABLE = {"ens-t_tst.md", "ens-s_tst_mt.md", "table3.md", "table5.md", *(f"{terms}-ce.md" for terms in LOSSES[1:])}


def names(folder, pattern="*"):
    return {path.name for path in folder.glob(pattern) if path.is_file()}


def test_all_results_names_a_size_that_is_not_there(tmp_path):
    for arguments, said in (((), "usage:"), ((SHARED, tmp_path, "huge"), "SIZE is 'huge'; it is tiny or full")):
        done = subprocess.run([ROOT / "scripts" / "all_results.sh", *arguments], capture_output=True, text=True)
        assert (done.returncode, said in done.stderr) == (2, True)
    assert [*tmp_path.iterdir()] == []


def test_a_grid_that_has_picked_is_not_begun_again(tmp_path):
    """What is done is neither read nor trained again; a loss without a pick, or whose grid has failed cells, is."""
    out = tmp_path / "out" / "cls_books"
    environment = {"ENCODER": str(tmp_path), "TRANSLATOR": str(tmp_path)}

    def grid(losses):
        done = script("grid", "cls_books", tmp_path, tmp_path / "out", "tiny", LOSSES=losses, **environment)
        return done.returncode, done.stdout, done.stderr

    for terms in ("ce", "ce+sc"):
        (out / "grid" / terms).mkdir(parents=True)
        (out / "grid" / terms / "best.yaml").write_text("")
    (out / "results").mkdir()
    (out / "results" / "grid-ce.md").write_text("")
    status, said, _ = grid("ce")
    assert status == 0 and said.startswith("the grids of ce are done: see ")
    assert not (out / "corpora").exists()
    for losses in ("ce ce+sc", "ce+mu"):
        status, said, problem = grid(losses)
        assert status != 0 and "are done" not in said and "error: " in problem  # it begins with the raw files: none
    (out / "results" / "grid-ce+sc.md").write_text("")
    assert grid("ce ce+sc")[1].startswith("the grids of ce ce+sc are done: see ")


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.timeout(2400)
@pytest.mark.skipif(not (SHARED / "cls").is_dir(), reason="needs the real reviews of ../shared/data")
def test_all_results_from_nothing_which_go_on_where_they_were(tmp_path):
    """Two domains of reviews, of which the second takes what the grid of the first has picked."""
    options = {"SETS": "cls_books cls_music", "SEEDS": "1", "LRS": "1e-3", "LAMS": "0.5", "EPOCHS": "1"}

    def run(**environment):
        command = [ROOT / "scripts" / "all_results.sh", SHARED, tmp_path, "tiny"]
        return subprocess.run(command, env={**os.environ, **options, **environment}, capture_output=True, text=True)

    failed = run(OPTIONS="optimization.max_epoch=none")
    assert failed.returncode == 1
    assert "cls_books-grid failed" in failed.stderr and "max_epoch" in failed.stderr
    done = run()
    assert done.returncode == 0, done.stderr[-3000:]
    assert "cls_books-grid: " in done.stdout and "cls_music-grid: " not in done.stdout
    for which in ("cls_books", "cls_music"):
        results = tmp_path / which / "results"
        assert EVERY_TABLE | {"table4.md", "weights-half.md"} < names(results / "all", "*.md")
        assert {"figure1.png", "probe.md", "calibration-seed=1.md", "weights-seed=1.txt"} < names(results)


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.timeout(2400)  # beside other work
@pytest.mark.skipif(not (SHARED / "cls").is_dir(), reason="needs the real reviews of ../shared/data")
def test_every_part_on_reviews_with_two_numbers_of_rows(tmp_path, encoder):
    """Some minutes: a translator, 5 trainings of the grid, 7 for each number of rows."""
    parts = ("prepare", "grid", "5", "3", "4", "figure", "probe", "calibration", "weights")
    results = parts_of("cls_books", SHARED / "cls", tmp_path, encoder, "en de fr ja", parts, "10 all")
    compared = ("s_tst_mt", "t_tst", "s_tst_mt-translated", "t_tst-translated")
    of_four = {"table4.md", *(f"bt-original-on-{name}.md" for name in compared)}
    for rows, count in (("10", 10), ("all", 20)):
        assert f"- rows of S_trn: {count}\n" in (results / rows / "table5.md").read_text(encoding="utf-8")
        assert names(results / rows, "*.md") == EVERY_TABLE | of_four | (
            {"weights-half.md"} if rows == "all" else set()
        )
    check_other_parts(results)
    assert "Ens_w.de" in (results / "weights-seed=1.txt").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.timeout(2400)
@pytest.mark.skipif(not (SHARED / "pawsx").is_dir(), reason="needs the real pairs of ../shared/data")
def test_every_part_on_pairs_of_sentences(tmp_path, encoder):
    """Some minutes: a translator of 7 languages, 5 trainings of the grid side by side, 5 for the tables."""
    parts = ("3", "5", "figure", "probe", "calibration", "weights")
    raw = SHARED / "pawsx" / "x-final"
    results = parts_of("pawsx", raw, tmp_path, encoder, "en de es fr ja ko zh", parts, "all", jobs="5")
    table = (results / "all" / "table3.md").read_text(encoding="utf-8")
    assert all(f"| {language} " in table for language in ("EN", "DE", "ES", "FR", "JA", "KO", "ZH"))
    assert names(results / "all", "*.md") == EVERY_TABLE | {"weights-half.md"}
    check_other_parts(results)
    assert "Ens_w.ko" in (results / "weights-seed=1.txt").read_text(encoding="utf-8")


def check_other_parts(results):
    """What is written beside the tables, with one seed."""
    assert names(results) == {
        *(f"grid-{terms}.md" for terms in LOSSES),
        *(f"figure1.{ending}" for ending in ("png", "svg", "tsv")),
        *(f"{name}.{ending}" for name in ("probe", "calibration-seed=1") for ending in ("md", "tsv")),
        "weights-seed=1.txt",
    }
    assert all(path.stat().st_size for path in results.iterdir())
