"""Table 4's protocol on real reviews, with the commands of docs/cls.md: original and back-translated training text.

The script trains a real small translator of real text on its way, by scripts/m2m_small.sh, which is stopped and goes
on here, and scores it afterwards.
"""

import gzip
import itertools
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from fairseq_musc.data.corpus import read_about, read_corpus
from fairseq_musc.evaluate.table import list_predictions, read_predictions

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
LANGUAGES = ("de", "fr", "ja")


def first_lines(paths, folder, number):
    """The first lines of gzipped files under the same names: real text, of which the vocabulary is soon learnt."""
    folder.mkdir()
    for path in paths:
        with gzip.open(path, "rb") as whole, gzip.open(folder / path.name, "wb", compresslevel=1) as part:
            part.writelines(itertools.islice(whole, number))
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The folder of both scripts, and what they printed: cls.sh stopped before the training of the translator, cls.sh
    to its end, and m2m_small.sh for the scores.

    20 reviews a set and a translator of 120 updates: the joints, with every row counted, and no accuracy.
    """
    folder = tmp_path_factory.mktemp("cls")
    cls = first_lines(sorted((SHARED / "cls").glob("books.*")), folder / "cls", 200)
    parallel = first_lines([SHARED / "parallel" / f"en-{xx}.tsv.gz" for xx in LANGUAGES], folder / "parallel", 500)

    def script(name, *arguments, **environment):
        return subprocess.run(
            [ROOT / "scripts" / name, *arguments, folder, "tiny"],
            env={**os.environ, "TABLES": "4", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    stopped = script("cls.sh", cls, parallel, PART="0")
    done = script("cls.sh", cls, parallel)
    scored = script("m2m_small.sh", parallel, SHARED / "flores")
    return folder, stopped, done, scored


pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(
        not all((SHARED / name).is_dir() for name in ("cls", "flores", "parallel")),
        reason="needs the real reviews and texts of ../shared/data",
    ),
]


def test_a_translator_of_real_text_in_two_parts_and_its_scores(parts):
    folder, stopped, done, scored = parts
    assert stopped.returncode == 3, stopped.stderr[-3000:]
    assert "stopped at update 0 of 120" in stopped.stderr
    assert re.search(r"^update 120/120  loss [\d.]+  perplexity [\d.]+  [\d.]+ pieces/s$", done.stderr, re.MULTILINE)
    assert re.search(r"^update 118/120  perplexity of held-out [\d.]+$", done.stderr, re.MULTILINE)
    about = json.loads((folder / "translator" / "training.json").read_text())
    assert about["averaged"] == [118, 120]
    assert scored.returncode == 0, scored.stderr[-3000:]
    scores = json.loads((folder / "scores" / "scores.json").read_text())
    assert list(scores["scores"]) == ["en-de", "de-en", "en-fr", "fr-en", "en-ja", "ja-en"]
    assert (scores["text"], scores["lines"]) == ("devtest", 4)
    assert "en-ja" in scored.stdout


def test_table_4_on_real_reviews(parts):
    folder, _, done, _ = parts
    assert done.returncode == 0, done.stderr[-3000:]
    made = {"T_trn_BT": "S_trn_MT", "S_trn_MT": "T_trn", "S_tst_MT": "T_tst", "T_trn_MT": "S_trn", "S_val_MT": "T_val"}
    for xx in LANGUAGES:
        for name, source in made.items():
            about = read_about(folder / "corpora", name, xx)
            origin = read_about(folder / "corpora", source, "en" if source == "S_trn" else xx)
            assert about["rows"] == origin["rows"] == (10 if name == "S_val_MT" else 20)
            assert about["provenance"]["made_from_sha256"] == origin["sha256"]
            texts = [row.text for row in read_corpus(folder / "corpora", name, xx).rows]
            assert sum(map(bool, texts)) > len(texts) / 2, "a translator that says nothing would try nothing"
    for target in ("T_trn", "T_trn_BT"):
        predictions = folder / "runs" / f"S_trn+{target}_ce_seed=1" / "predictions"
        assert {(name, xx) for name, xx in list_predictions(predictions) if name != "Ens"} == {
            *(("T_tst", xx) for xx in ("en", *LANGUAGES)),
            *(("S_tst_MT", xx) for xx in LANGUAGES),
        }
        training = read_predictions(predictions, "S_tst_MT", "ja").signature.training
        assert (training.corpora, training.paired) == (("S_trn", target), False)
        assert training.rows == {"S_trn.en": 20, **{f"{target}.{xx}": 20 for xx in LANGUAGES}}
    lines = (folder / "runs" / "table4.tsv").read_text(encoding="utf-8").splitlines()
    table = [line.split("\t") for line in lines if not line.startswith("#")]
    assert len(table) == 5
    assert all(0 <= float(row[table[0].index("average")]) <= 1 for row in table[1:])
