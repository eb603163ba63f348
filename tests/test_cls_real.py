"""Table 4's protocol on real reviews, with the commands of docs/cls.md: original and back-translated training text."""

import gzip
import itertools
import os
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


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "cls").is_dir(), reason="needs the real reviews of ../shared/data")
def test_table_4_on_real_reviews(tmp_path):
    """20 reviews a set and a translator of 120 updates: the joints, with every row counted, and no accuracy."""
    cls = first_lines(sorted((SHARED / "cls").glob("books.*")), tmp_path / "cls", 200)
    parallel = first_lines([SHARED / "parallel" / f"en-{xx}.tsv.gz" for xx in LANGUAGES], tmp_path / "parallel", 500)
    done = subprocess.run(
        [ROOT / "scripts" / "cls.sh", cls, parallel, tmp_path, "tiny"],
        env={**os.environ, "TABLES": "4"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = {"T_trn_BT": "S_trn_MT", "S_trn_MT": "T_trn", "S_tst_MT": "T_tst", "T_trn_MT": "S_trn", "S_val_MT": "T_val"}
    for xx in LANGUAGES:
        for name, source in made.items():
            about = read_about(tmp_path / "corpora", name, xx)
            origin = read_about(tmp_path / "corpora", source, "en" if source == "S_trn" else xx)
            assert about["rows"] == origin["rows"] == (10 if name == "S_val_MT" else 20)
            assert about["provenance"]["made_from_sha256"] == origin["sha256"]
            texts = [row.text for row in read_corpus(tmp_path / "corpora", name, xx).rows]
            assert sum(map(bool, texts)) > len(texts) / 2, "a translator that says nothing would try nothing"
    for target in ("T_trn", "T_trn_BT"):
        folder = tmp_path / "runs" / f"S_trn+{target}_ce_seed=1" / "predictions"
        assert {(name, xx) for name, xx in list_predictions(folder) if name != "Ens"} == {
            *(("T_tst", xx) for xx in ("en", *LANGUAGES)),
            *(("S_tst_MT", xx) for xx in LANGUAGES),
        }
        training = read_predictions(folder, "S_tst_MT", "ja").signature.training
        assert (training.corpora, training.paired) == (("S_trn", target), False)
        assert training.rows == {"S_trn.en": 20, **{f"{target}.{xx}": 20 for xx in LANGUAGES}}
    lines = (tmp_path / "runs" / "table4.tsv").read_text(encoding="utf-8").splitlines()
    table = [line.split("\t") for line in lines if not line.startswith("#")]
    assert len(table) == 5
    assert all(0 <= float(row[table[0].index("average")]) <= 1 for row in table[1:])
