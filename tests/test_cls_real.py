"""Table 4's protocol on real reviews, with the commands of docs/cls.md: original and back-translated training text."""

import os
import subprocess
from pathlib import Path

import pytest

from fairseq_musc.data.corpus import read_about
from fairseq_musc.evaluate.table import list_predictions, read_predictions

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "cls").is_dir(), reason="needs the real reviews of ../shared/data")
def test_table_4_on_real_reviews(tmp_path):
    """40 reviews a set and a translator of 20 updates: the joints, with every row counted, and no accuracy."""
    done = subprocess.run(
        [ROOT / "scripts" / "cls.sh", SHARED / "cls", SHARED / "parallel", tmp_path, "tiny"],
        env={**os.environ, "TABLES": "4", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = {"T_trn_BT": "S_trn_MT", "S_trn_MT": "T_trn", "S_tst_MT": "T_tst", "T_trn_MT": "S_trn", "S_val_MT": "T_val"}
    for xx in ("de", "fr", "ja"):
        for name, source in made.items():
            about = read_about(tmp_path / "corpora", name, xx)
            origin = read_about(tmp_path / "corpora", source, "en" if source == "S_trn" else xx)
            assert about["rows"] == origin["rows"] == (20 if name == "S_val_MT" else 40)
            assert about["provenance"]["made_from_sha256"] == origin["sha256"]
    for target in ("T_trn", "T_trn_BT"):
        folder = tmp_path / "runs" / f"S_trn+{target}_ce_seed=1" / "predictions"
        assert {(name, xx) for name, xx in list_predictions(folder) if name != "Ens"} == {
            *(("T_tst", xx) for xx in ("en", "de", "fr", "ja")),
            *(("S_tst_MT", xx) for xx in ("de", "fr", "ja")),
        }
        training = read_predictions(folder, "S_tst_MT", "ja").signature.training
        assert (training.corpora, training.paired) == (("S_trn", target), False)
        assert training.rows == {"S_trn.en": 40, **{f"{target}.{xx}": 40 for xx in ("de", "fr", "ja")}}
    lines = (tmp_path / "runs" / "table4.tsv").read_text(encoding="utf-8").splitlines()
    table = [line.split("\t") for line in lines if not line.startswith("#")]
    assert len(table) == 5
    assert all(0 <= float(row[table[0].index("average")]) <= 1 for row in table[1:])
