"""Which room may know which: read off the sources."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for room in ("fairseq_musc", "criterions", "tasks", "configs", "hydra_plugins")
    for path in (ROOT / room).rglob("*.py")
    if "__pycache__" not in path.parts
)


def imported(path, top_level_only=False):
    """The names of the modules that a file imports, e.g. ``fairseq.data``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def packages(names):
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", ["losses", "mixing"])
def test_formulas_know_torch_and_nothing_else(name):
    assert packages(imported(ROOT / "fairseq_musc" / f"{name}.py")) == {"torch"}


#: The rooms of fairseq_musc.evaluate that need a model.
WITH_MODELS = {"predict", "probe"}

#: The rooms of fairseq_musc.data that come before a tokenizer.
WITHOUT_MODELS = (
    *(
        "align",
        "corpus",
        "datasets",
        "forms",
        "guess",
        "heads",
        "hub",
        "init",
        "init_files",
        "look",
        "own",
        "own_files",
    ),
    *("raw_files", "read", "readers", "reading", "records", "row_sets", "spooled", "survey", "translators"),
)


@pytest.mark.parametrize(
    "path",
    [
        *(f"fairseq_musc/data/{name}.py" for name in WITHOUT_MODELS),
        *(
            str(path.relative_to(ROOT))
            for path in sorted((ROOT / "fairseq_musc" / "evaluate").glob("*.py"))
            if path.stem not in WITH_MODELS
        ),
        *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "fairseq_musc" / "page").glob("*.py"))),
        *(f"fairseq_musc/{name}.py" for name in ("__init__", "cli", "errors", "files", "progress", "version")),
        *(f"fairseq_musc/demo/{name}.py" for name in ("grammar", "write")),
        *(f"fairseq_musc/translate/{name}.py" for name in ("check", "quality")),
        "fairseq_musc/experiments/hyperparameters.py",
    ],
)
def test_reading_and_reporting_never_load_torch_or_fairseq(path):
    light = {"numpy", "scipy", "sklearn", "matplotlib", "jinja2", "markupsafe", "tensorboard", "fairseq_musc", "tqdm"}
    light |= {"yaml", "regex", "langcodes"}
    assert packages(imported(ROOT / path)) <= light


def test_the_program_loads_what_is_heavy_only_where_it_is_needed():
    from fairseq_musc.cli import VERBS

    for verb in VERBS.values():
        path = ROOT.joinpath(*verb.module.split(".")).with_suffix(".py")
        assert not packages(imported(path, top_level_only=True)) & {"torch", "fairseq", "transformers"}, path


def test_criterions_and_tasks_do_not_know_each_other_nor_models_either():
    for path in SOURCES:
        room = path.relative_to(ROOT).parts[0]
        others = {"criterions": "tasks", "tasks": "criterions"}.get(room)
        if others:
            assert not any(name.startswith(f"fairseq_musc.{others}") for name in imported(path)), path
    for path in (ROOT / "fairseq_musc" / "models").glob("*.py"):
        assert not any(name.startswith(("fairseq_musc.criterions", "fairseq_musc.tasks")) for name in imported(path))


def test_no_source_switches_the_safe_loader_off():
    assert len(SOURCES) > 40
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "weights_only":
                assert isinstance(node.value, ast.Constant) and node.value.value is True, path
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" in node.value
                assert not said or path.name == "safe_loading.py", path  # which takes it away
