"""A file that would run code does not, through every door by which checkpoints and encoders come in."""

import argparse
import ast
import json
import os
import shutil
import warnings
from pathlib import Path

import fairseq
import pytest
import tiny
import torch

from fairseq_musc.cli import main
from fairseq_musc.errors import InputError
from fairseq_musc.literals import EVALUATING, let_fairseq_read_literals, literal
from fairseq_musc.safe_loading import UNSAFE
from fairseq_musc.translate.engine import Decoding, Device, open_engine
from fairseq_musc.translate.training import average

pytest_plugins = ["checkpoint_fixture", "translator_fixture"]

PACKAGE = Path(__file__).resolve().parent.parent


class RunsCode:
    """Pickles as a call of os.mkdir, which works once."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Where the code would leave its mark; torch's safe loader is switched off from outside."""
    monkeypatch.setenv(UNSAFE, "1")
    path = tmp_path / "the code ran"
    yield path
    assert not path.exists()


def poisoned(source, target, trap, **how):
    """A copy of a checkpoint with a call among its values."""
    state = torch.load(source, map_location="cpu", weights_only=True)
    torch.save({**state, "extra_state": {**(state.get("extra_state") or {}), "evil": RunsCode(trap)}}, target, **how)
    return target


def test_the_trap_works(checkpoint, tmp_path):
    poisoned(checkpoint, tmp_path / "a.pt", tmp_path / "ran")
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("zip_format", [True, False])
def test_prediction_export_probe_and_the_class_for_python(
    world, checkpoint, tmp_path, trap, capsys, zip_format, promise
):
    from fairseq_musc import TranslateAllClassifier

    path = str(poisoned(checkpoint, tmp_path / "a.pt", trap, _use_new_zipfile_serialization=zip_format))
    commands = [
        ["predict", "--checkpoint", path, "--data", str(world.data), "--predictions", str(tmp_path / "out"), "--cpu"],
        ["export", path, str(tmp_path / "exported")],
        ["probe", "--checkpoint", path, "--data", str(world.data), "--cpu"],
    ]
    for command in commands:
        assert main(command) == 2, command
        told = capsys.readouterr().err
        assert ("mkdir" in told) if zip_format else ("cut short, or no checkpoint" in told)
    with pytest.raises(InputError):
        TranslateAllClassifier.from_pretrained(path)
    promise("hostile checkpoints", "a pickled call, in prediction, export, probe and Python", 4)


@pytest.mark.parametrize("how", ["restore_file", "finetune_from_model", "checkpoint_last.pt"])
@pytest.mark.parametrize("zip_format", [True, False])
def test_training(world, checkpoint, tmp_path, trap, how, zip_format, promise):
    run = tmp_path / "run"
    run.mkdir()
    path = run / how if how.endswith(".pt") else tmp_path / "a.pt"
    poisoned(checkpoint, path, trap, _use_new_zipfile_serialization=zip_format)
    more = [] if how.endswith(".pt") else [f"checkpoint.{how}={path}"]
    with pytest.raises(InputError):
        tiny.train(world.data, world.encoder, run, "optimization.max_update=1", *more)
    promise("hostile checkpoints", f"a pickled call, training with {how}", 1)


@pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])
@pytest.mark.parametrize("zip_format", [True, False])
def test_translation(translator_folder, tmp_path, trap, monkeypatch, engine, zip_format, promise):
    """CTranslate2's converter is given no checkpoint that fairseq would not be given."""
    monkeypatch.setenv("FAIRSEQ_MUSC_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "translator"
    shutil.copytree(translator_folder, folder)
    poisoned(translator_folder / "model.pt", folder / "model.pt", trap, _use_new_zipfile_serialization=zip_format)
    with pytest.raises(InputError, match="mkdir"):
        open_engine(engine, folder, Decoding(), Device(cpu=True))
    assert not (tmp_path / "cache").exists()
    promise("hostile checkpoints", f"a pickled call in a translator, engine {engine}", 1)


def test_the_mean_of_checkpoints(translator_folder, tmp_path, trap):
    poisoned(translator_folder / "model.pt", tmp_path / "a.pt", trap)
    with pytest.raises(InputError, match="mkdir"):
        average([tmp_path / "a.pt"])


@pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])
def test_a_translator_that_names_another_model_is_not_built(translator_folder, tmp_path, trap, engine, promise):
    """fairseq's HuBERT evaluates a text of its settings: no pickled call is needed to run code."""
    folder = tmp_path / "translator"
    shutil.copytree(translator_folder, folder)
    state = torch.load(folder / "model.pt", weights_only=True)
    state["args"] = None
    state["cfg"] = {
        "model": {"_name": "hubert", "conv_feature_layers": f"__import__('os').mkdir({str(trap)!r})"},
        "task": {"_name": "translation_multi_simple_epoch"},
    }
    torch.save(state, folder / "model.pt")
    with pytest.raises(InputError, match="its model is 'hubert', allowed is transformer"):
        open_engine(engine, folder, Decoding(), Device(cpu=True))
    state["args"] = argparse.Namespace(arch="transformer", task="online_backtranslation")
    torch.save(state, folder / "model.pt")
    with pytest.raises(InputError, match="its task is 'online_backtranslation'"):
        open_engine(engine, folder, Decoding(), Device(cpu=True))
    promise("hostile checkpoints", f"another model or task than a translator has, engine {engine}", 2)


def test_a_classifier_that_names_another_model_is_not_built(world, checkpoint, tmp_path, capsys):
    state = torch.load(checkpoint, weights_only=True)
    state["cfg"]["task"]["_name"] = "audio_pretraining"
    torch.save(state, tmp_path / "a.pt")
    command = ["predict", "--checkpoint", str(tmp_path / "a.pt"), "--data", str(world.data), "--predictions"]
    assert main([*command, str(tmp_path / "out")]) == 2
    assert "its task is 'audio_pretraining', allowed is musc" in capsys.readouterr().err


# --- the folder of an encoder ----------------------------------------------------------------------------------------


@pytest.fixture
def encoder(world, tmp_path):
    shutil.copytree(world.encoder, tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_pickle_in_the_folder_of_an_encoder(world, encoder, trap, tmp_path, capsys, promise):
    from fairseq_musc import TranslateAllClassifier

    (encoder / "model.safetensors").unlink()
    torch.save({"embeddings.word_embeddings.weight": RunsCode(trap)}, encoder / "pytorch_model.bin")
    assert main(["probe", "--encoder", str(encoder), "--data", str(world.data), "--cpu"]) == 2
    assert "cannot be loaded" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot be loaded"):
        tiny.train(world.data, encoder, tmp_path / "run", "optimization.max_update=1")
    with pytest.raises(InputError, match="cannot be loaded"):
        TranslateAllClassifier.from_pretrained(encoder)
    promise("hostile checkpoints", "a pickled call in the folder of an encoder", 3)


@pytest.mark.parametrize("native", [True, False])
def test_code_in_the_folder_of_an_encoder_is_neither_run_nor_asked_for(
    world, encoder, trap, capsys, native, monkeypatch
):
    """Not on a terminal either, where transformers would ask."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    (encoder / "evil.py").write_text(f"import os\nos.mkdir({str(trap)!r})\n")
    config = json.loads((encoder / "config.json").read_text())
    names = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForSequenceClassification"), "evil.Evil")
    config |= {"auto_map": names} | ({} if native else {"model_type": "evil"})
    (encoder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((encoder / "tokenizer_config.json").read_text())
    own = {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": "Evil"}
    (encoder / "tokenizer_config.json").write_text(json.dumps({**tokenizer, **own} if not native else tokenizer))
    status = main(["probe", "--encoder", str(encoder), "--data", str(world.data), "--cpu"])
    assert status == (0 if native else 2), capsys.readouterr().err


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_kernels_from_a_repository_are_not_fetched(world, encoder, capsys, key):
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps({**config, key: "someone/kernels"}))
    assert main(["probe", "--encoder", str(encoder), "--data", str(world.data), "--cpu"]) == 2
    assert "names 'someone/kernels' as its attention" in capsys.readouterr().err


# --- what is evaluated, and what is loaded ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(0.9, 0.98)", (0.9, 0.98)),
        ("True", True),
        (" -1e-3", -1e-3),
        ("{'a': [1]}", {"a": [1]}),
        ("[(512, 10, 5)] + [(512, 3, 2)] * 2", [(512, 10, 5), (512, 3, 2), (512, 3, 2)]),
    ],
)
def test_literals_are_read(text, value):
    assert literal(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "(lambda: 1)()",
        "x",
        "[y for y in (1,)]",
        "().__class__",
        "f'{1}'",
        "",
        "9**9**9",
        "(",
        '-""',
        "{[]}",
        "{**{}}",
        "1 / 0",
        "[0] * 1_000_000_000_000",
        "1_000_000_000_000 * 'x'",
        "((0,) * 100_000) * 2",
    ],
)
def test_nothing_else_is(text):
    with pytest.raises(ValueError, match="is not a literal"):
        literal(text)


def test_fairseq_evaluates_settings_nowhere_else():
    """Every call of eval and exec in the installed fairseq is in a module of the list, but for its examples."""
    root = Path(fairseq.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        text = path.read_text(encoding="utf-8")
        if parts[0] == "examples" or ("eval(" not in text and "exec(" not in text):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found |= {".".join(("fairseq", *parts)) for name in called(ast.parse(text)) if name in ("eval", "exec")}
    assert found == set(EVALUATING)
    let_fairseq_read_literals()
    from fairseq import utils
    from fairseq.optim.adam import FairseqAdam

    assert utils.eval_str_list("[1, 2]") == [1.0, 2.0]
    with pytest.raises(ValueError, match="is not a literal"):
        utils.eval_bool("print(1)")
    assert FairseqAdam.optimizer_config.fget.__globals__["eval"] is literal


def called(tree):
    """The names of the functions that are called, with what stands before a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func)


def test_nothing_of_ours_loads_or_evaluates_unsafely():
    """Every call that could build objects out of a file says that it does not."""
    rooms = ("fairseq_musc", "criterions", "tasks", "hydra_plugins", "scripts", "benchmarks")
    seen = 0
    for path in (path for room in rooms for path in (PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                continue
            name = ast.unparse(node.func)
            said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            where = f"{path}:{node.lineno}: {name}"
            if name in ("torch.load", "np.load", "numpy.load"):
                wanted = ("weights_only", "True") if name == "torch.load" else ("allow_pickle", "False")
                assert said.get(wanted[0]) == wanted[1], where
                seen += 1
            assert name not in {"exec", "pickle.load", "pickle.loads", "os.system", "yaml.load", "yaml.unsafe_load"}, (
                where
            )
            assert name != "eval", where
            assert "shell" not in said, where
            if name.endswith(".from_pretrained") and name.split(".")[0].startswith(("Auto", "auto_class")):
                assert "**NO_CODE" in ast.unparse(node) or path.parent.name == "benchmarks", where
                seen += 1
    assert seen > 8
