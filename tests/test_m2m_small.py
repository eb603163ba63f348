"""The script that trains and scores a real small translator, at its tiny size on real text: in two parts."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "flores").is_dir(), reason="needs the real text of ../shared/data")
def test_a_translator_of_real_text_and_its_scores(tmp_path):
    def script(**environment):
        return subprocess.run(
            [ROOT / "scripts" / "m2m_small.sh", SHARED / "parallel", SHARED / "flores", tmp_path, "tiny"],
            env={**os.environ, "LANGUAGES": "en it ja", "OMP_NUM_THREADS": "2", **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    part = script(PART="0")
    assert part.returncode == 3, part.stderr[-3000:]
    assert "stopped at update 0 of 120" in part.stderr
    done = script()
    assert done.returncode == 0, done.stderr[-3000:]
    about = json.loads((tmp_path / "translator" / "training.json").read_text())
    assert about["averaged"] == [118, 120]
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert list(scores["scores"]) == ["en-it", "it-en", "en-ja", "ja-en"]
    assert (scores["text"], scores["lines"]) == ("devtest", 4)
    assert "en-ja" in done.stdout
