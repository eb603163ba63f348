"""Who translated a corpus, and the warning where training and inference had two translators."""

import pytest
import tiny

from fairseq_musc.cli import main
from fairseq_musc.data.translators import mismatch, model_of, short_name, translator_of
from fairseq_musc.files import read_sealed_json, write_sealed_json

FIRST, SECOND = "0" * 64, "ab" * 32


@pytest.mark.parametrize(
    ("provenance", "name", "model", "short"),
    [
        ({"read": "by hand"}, None, None, None),
        ({"translated_by": "XTREME"}, "XTREME (published)", "XTREME (published)", "XTREME (published)"),
        (
            {"engine": "fairseq", "translator": {"model.pt": SECOND, "spm.128k.model": FIRST}},
            "fairseq with model.pt (SHA-256 abababababab)",
            "abababababab",
            "abababababab",
        ),
        (
            {"engine": "easynmt", "translator": {"config.json": FIRST, "model.safetensors": SECOND}, "hypothesis": 2},
            "easynmt with model.safetensors (SHA-256 abababababab), hypothesis 2",
            "abababababab",
            "abababababab/2",
        ),
    ],
)
def test_a_translator_is_named_by_its_weights(provenance, name, model, short):
    assert translator_of(provenance) == name
    if name is not None:
        assert model_of(name) == model
        assert short_name(name) == short


def name(engine, digest, rank=1):
    return translator_of({"engine": engine, "translator": {"model.pt": digest}, "hypothesis": rank})


def test_only_another_model_is_another_translator():
    first = name("fairseq", FIRST)
    others = [name("fairseq-generate", FIRST), name("ctranslate2", FIRST), name("fairseq", FIRST, 2), None]
    assert mismatch([first], others, "predicting") is None
    assert mismatch([], [first], "predicting") is None, "trained on originals alone"
    assert mismatch([first], [], "predicting") is None
    for used in ([name("fairseq", SECOND)], ["XTREME (published)"], [f"{first} + {name('fairseq', SECOND)}"]):
        warning = mismatch([first], used, "predicting")
        other = used[0].removeprefix(f"{first} + ")
        assert f"trained on translations by {first}, predicting translations by {other}:" in warning
        assert "section 4 of the paper" in warning


@pytest.mark.parametrize("translators", [1, 2])
def test_training_predicting_and_reporting_warn_of_two_translators(tmp_path, caplog, capsys, translators):
    tiny.make_corpora(tmp_path / "corpora")
    if translators == 2:
        for path in tmp_path.glob("corpora/S_*_MT.*.json"):
            about = read_sealed_json(path)
            about["provenance"]["translator"] = {"model.pt": SECOND}
            write_sealed_json(path, about)
    tiny.make_encoder(tmp_path / "encoder")
    tiny.binarize(tmp_path / "corpora", tmp_path / "bin", tmp_path / "encoder")
    caplog.set_level("WARNING")
    run = tiny.train(tmp_path / "bin", tmp_path / "encoder", tmp_path / "run", "optimization.max_epoch=1")
    said = "trained on translations by word list with model.pt (SHA-256 000000000000), {} translations by word list "
    said += "with model.pt (SHA-256 abababababab)"
    times = translators - 1
    assert sum(said.format("validated on") in record.getMessage() for record in caplog.records) == times

    predictions = ["--predictions", str(tmp_path / "predictions")]
    capsys.readouterr()
    data = ["--data", str(tmp_path / "bin"), "--checkpoint", str(run / "checkpoint_best.pt")]
    assert main(["predict", *predictions, *data]) == 0
    assert capsys.readouterr().err.count("warning: " + said.format("predicting")) == times
    assert main(["ensemble", *predictions]) == 0
    assert capsys.readouterr().err.count("warning: " + said.format("predicting")) == times
    assert main(["report", *predictions]) == 0
    assert capsys.readouterr().out.count("\nwarning: " + said.format("predicting")) == times
    assert (tmp_path / "predictions" / "results.md").read_text().count("- warning: ") == times
    arguments = ["--table", "3", "--terms", "ce+mu+sc+musc", "--predictions", str(tmp_path)]
    assert main(["report", *arguments]) == 0
    assert capsys.readouterr().out.count("warning: " + said.format("predicting")) == times
