"""Every command of the documentation is one that the programs take, and what can be run in seconds is run."""

import argparse
import ast
import contextlib
import importlib
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest
from doc_blocks import PLACEHOLDERS, ROOT, Block, blocks_in, every_block, words_of
from doc_stage import PAGES
from packaging.requirements import Requirement

from fairseq_musc.cli import VERBS, main

pytest_plugins = ["checkpoint_fixture", "translator_fixture"]

BLOCKS = every_block()
COMMANDS = [
    pytest.param(block, command, id=f"{block.name}-{command[:40]}") for block in BLOCKS for command in block.commands
]
#: Words of the shell, and programs of others, of which nothing can be looked at.
OTHERS = {
    *("cd", "export", "mkdir", "ln", "echo", "for", "do", "done"),
    *("fairseq-generate", "fairseq-train", "apt-get", "tensorboard"),
}


# --- every command is one that the programs take ---------------------------------------------------------------------


@pytest.mark.parametrize(("block", "command"), COMMANDS)
def test_the_program_takes_the_command(block, command, monkeypatch):
    for words in words_of(command):
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        program, *arguments = words
        if program == "fairseq-musc":
            takes_verb(arguments, monkeypatch)
        elif program == "fairseq-hydra-train":
            takes_recipe(arguments)
        elif program == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {word for word in arguments if "=" not in word} <= set(targets)
        elif program == "pip":
            takes_requirements(arguments)
        elif program in ("python", "pytest") or program.startswith(".venv/bin/"):
            for word in arguments:
                assert not word.endswith(".py") or (ROOT / word).exists(), word
        elif "/" in program:
            assert os.access(ROOT / program, os.X_OK), program
        else:
            assert program in OTHERS, f"{block.name}: {program} is nothing that this test knows"


def takes_verb(arguments, monkeypatch):
    """The verb's own parser, and its overrides held against its recipe."""
    assert arguments and arguments[0] in VERBS
    verb = importlib.import_module(VERBS[arguments[0]].module)
    if "..." in arguments:  # a command with something left out: its options are looked at
        parser = argparse.ArgumentParser()
        verb.add_arguments(parser)
        assert {word for word in arguments if word.startswith("--")} <= set(parser._option_string_actions)
        return
    given = []
    monkeypatch.setattr(verb, "run", given.append)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            assert main(arguments) == 0
        except SystemExit:
            pytest.fail(said.getvalue())
    (options,) = given
    overrides = [word for word in arguments if re.match(r"[a-z_]+\.\w+=", word)]
    if overrides and getattr(options, "config_name", None):
        takes_recipe(["--config-name", options.config_name, *overrides])


def takes_recipe(arguments):
    from fairseq_musc.experiments.cells import TrainingRecipe

    name = arguments[arguments.index("--config-name") + 1]
    if "--config-dir" in arguments:
        return  # a recipe that is made on the way
    assert (ROOT / "configs" / f"{name}.yaml").exists(), f"there is no recipe {name}"
    recipe = TrainingRecipe(name, None)
    overrides = [word for word in arguments if "=" in word and not word.startswith(("hydra.", "hydra/", "-"))]
    if not any(word.startswith("task.data=") for word in overrides):
        overrides.append("task.data=data-bin")  # not all blocks say it again
    recipe.check(overrides)


def takes_requirements(arguments):
    assert arguments[0] == "install"
    for before, word in zip(["", *arguments], arguments, strict=False):
        if before in ("-r", "--requirement"):
            assert (ROOT / word).exists(), word
        elif not word.startswith("-") and word != "install" and "/" not in word:
            asked = Requirement(word)
            if asked.name == "fairseq-musc":
                assert asked.extras <= set(metadata("fairseq-musc").get_all("Provides-Extra")), word


@pytest.mark.parametrize("block", [pytest.param(b, id=b.name) for b in BLOCKS if b.language == "python"])
def test_python_can_be_parsed(block):
    ast.parse(block.text)


# --- what is said about running ---------------------------------------------------------------------------------------


def test_blocks_that_another_test_runs_name_it():
    for block in BLOCKS:
        if block.how == "by":
            assert (ROOT / block.about).is_file(), f"{block.name}: there is no {block.about}"


def test_every_block_that_is_run_has_a_stage_and_every_stage_a_block():
    assert {block.page for block in BLOCKS if block.how in ("run", "long")} == set(PAGES)


def test_every_block_of_commands_or_python_says_what_tests_it():
    programs = [block for block in BLOCKS if block.commands or block.language == "python"]
    assert len(programs) > 90
    assert [block.name for block in programs if block.how is None] == []


def test_a_form_has_a_place_to_fill_in_and_what_is_run_has_none():
    for block in BLOCKS:
        places = [place for place in PLACEHOLDERS if place in block.text and not place.startswith("$")]
        if block.how == "form":
            assert places, block.name
        elif block.how in ("run", "long"):
            stage = PAGES[block.page]
            assert all(any(place in old for old in stage.instead) for place in places), block.name


def test_what_stands_for_something_else_in_the_commands_that_are_run_finds_it_there():
    for page, stage in PAGES.items():
        run = [command for b in BLOCKS if b.page == page and b.how in ("run", "long") for command in b.commands]
        for old in stage.instead:
            assert any(old in command for command in run), f"{page}: no command that is run has {old!r}"


@pytest.mark.parametrize(
    "comment",
    [
        "test: runs",
        "test: by",
        "test: not run: why",
        "test: run tests/test_x.py",
        "test: long, really",
    ],
)
def test_a_comment_that_says_nothing_known_is_noticed(comment):
    with pytest.raises(ValueError, match="says nothing that is known"):
        blocks_in(f"<!-- {comment} -->\n\n    make demo\n", "page.md")


def test_a_comment_before_no_block_is_noticed():
    with pytest.raises(ValueError, match="before something else"):
        blocks_in("<!-- test: run -->\n\nWords.\n\n    make demo\n", "page.md")
    with pytest.raises(ValueError, match="at the end"):
        blocks_in("<!-- test: run -->\n", "page.md")


def test_commands_are_found_in_blocks():
    text = """
<!-- test: form -->

    $ fairseq-musc report --table 3 \\
        --predictions runs  # a table
    Table 3
    make no command: it stands below a prompt

```bash
LEFT=1 make demo
output
```
"""
    first, second = blocks_in(text, "page.md")
    assert first == Block("page.md", 4, "", first.text, "form", None)
    assert first.commands == ["fairseq-musc report --table 3 --predictions runs  # a table"]
    assert words_of(first.commands[0]) == [["fairseq-musc", "report", "--table", "3", "--predictions", "runs"]]
    assert (second.language, second.how, second.commands) == ("bash", None, ["LEFT=1 make demo"])


def test_a_loop_or_what_is_exported_makes_a_block_one_script():
    loop, exported, steps = (
        blocks_in(f"```bash\n{text}\n```\n", "page.md")[0]
        for text in (
            "for x in a b; do\n    make $x \\\n        VENV=v\ndone",
            "export X=1\nmake demo",
            "make venv\nmake demo",
        )
    )
    assert loop.script == "for x in a b; do\n    make $x VENV=v\ndone\n"
    assert loop.commands == ["for x in a b; do", "make $x VENV=v"]
    assert exported.script == exported.text
    assert steps.script is None


# --- what can be run is run -------------------------------------------------------------------------------------------


def run(command, page, folder):
    """Runs a command of a page in its folder: a verb or a Python file in this process, a training in a fork of it, all
    else by the shell."""
    for old, new in PAGES[page].instead.items():
        command = command.replace(old, new.replace("{folder}", str(folder)))
    in_shell = {
        "cwd": folder,
        "executable": "/bin/bash",
        "capture_output": True,
        "text": True,
        "env": {"PYTHONSAFEPATH": "1", **os.environ},
    }
    if in_process := re.match(r"fairseq-musc |(?:python )?(?P<file>\w+/\w+\.py) ", command):
        expanded = subprocess.run(f"printf '%s\\0' {command}", shell=True, check=True, **in_shell).stdout
        words = expanded.removeprefix("python\0").split("\0")[:-1]
        with contextlib.chdir(folder):
            status = run_file(words) if in_process["file"] else main(words[1:])
        assert status == 0, shlex.join(words)
        return
    done = subprocess.run(f"set -eo pipefail\n{command}", shell=True, **in_shell)
    assert done.returncode == 0, f"{command}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
    assert "does not provide the extra" not in done.stderr


def run_file(words):
    """Runs a Python file with its arguments as if it had been started; returns the status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as ended:
            return ended.code or 0
    return 0


def run_page(page, hows, folder, request):
    stage = PAGES[page]
    for program in stage.needs:
        if shutil.which(program) is None:
            pytest.skip(f"{page} needs {program}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder / 'programs'}:{Path(sys.executable).parent}", prepend=":")
        # What pip is asked for must be here already: nothing is fetched, and nothing installed.
        patch.setenv("PIP_DRY_RUN", "1")
        patch.setenv("PIP_NO_INDEX", "1")
        for name, value in stage.environment.items():
            patch.setenv(name, value.replace("{folder}", str(folder)))
        run_blocks(page, stage, hows, folder, request)
    if "long" in hows:
        assert [pattern for pattern in stage.leaves if not list(folder.glob(pattern))] == []


def run_blocks(page, stage, hows, folder, request):
    made = [*map(request.getfixturevalue, ("world", "checkpoint"))]
    stage.furnish(folder, *made)
    if stage.for_long and "long" in hows:
        stage.for_long(folder, *made)
    if stage.translator:  # a copy, for CTranslate2 keeps its own beside the files
        shutil.copytree(request.getfixturevalue("translator_folder"), folder / stage.translator)
    names = {}
    for block in BLOCKS:
        if block.page == page and block.how in hows:
            for name in stage.anew:
                shutil.rmtree(folder / name, ignore_errors=True)
            if block.language == "python":
                with contextlib.chdir(folder):
                    exec(block.text, names)
            for command in [block.script] if block.script else block.commands:
                run(command, page, folder)


def pages_with(how):
    return sorted({block.page for block in BLOCKS if block.how == how})


@pytest.mark.parametrize("page", pages_with("run"))
def test_the_blocks_of_a_page_run(page, tmp_path, request):
    run_page(page, ("run",), tmp_path, request)


@pytest.mark.long
@pytest.mark.parametrize("page", pages_with("long"))
def test_the_long_blocks_of_a_page_run(page, tmp_path, request):
    run_page(page, ("run", "long"), tmp_path, request)
