"""What `make venv` and the wheel install: every module, importable from anywhere, and nothing heavy before its time."""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import pytest
import setuptools
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"criterions": "fairseq_musc.criterions", "tasks": "fairseq_musc.tasks", "configs": "fairseq_musc.configs"}


def modules():
    """Path -> dotted name as installed, for every Python file that is not a test, a script or setup.py."""
    found = {}
    for top in ("fairseq_musc", "hydra_plugins", *ROOMS):
        for path in (ROOT / top).rglob("*.py"):
            relative = path.relative_to(ROOT)
            if any(parent.is_symlink() for parent in [path, *path.parents]) or "__pycache__" in relative.parts:
                continue
            parts = [ROOMS.get(top, top), *relative.with_suffix("").parts[1:]]
            found[relative] = ".".join(parts).removesuffix(".__init__")
    return found


@pytest.fixture(scope="module")
def setup_arguments():
    """What setup.py hands to setuptools."""
    with mock.patch.object(setuptools, "setup") as setup, pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        code = compile((ROOT / "setup.py").read_text(), str(ROOT / "setup.py"), "exec")
        exec(code, {"__file__": str(ROOT / "setup.py"), "__name__": "__main__"})
    return setup.call_args.kwargs


def pins(name):
    """Name -> requirement of one of the lists of pins; names as the package index compares them."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return {canonical(line): Requirement(line) for line in lines if line}


def canonical(requirement):
    return re.sub(r"[-_.]+", "-", Requirement(requirement).name).lower()


def python(folder, code):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_importable_from_outside_the_checkout(tmp_path):
    names = sorted(modules().values())
    if find_spec("triton") is None:  # it comes with torch on machines with a GPU
        names = [name for name in names if "triton" not in name]
    assert "fairseq_musc.data.corpus" in names
    assert "hydra_plugins.fairseq_musc_recipes.search_path" in names
    python(tmp_path, f"import importlib\nfor name in {names}: importlib.import_module(name)")


def test_setup_packs_every_python_file_and_recipe(setup_arguments):
    packages = set(setup_arguments["packages"])
    forgotten = {
        str(path)
        for path, name in modules().items()
        if (name if path.name == "__init__.py" else name.rpartition(".")[0]) not in packages
    }
    assert not forgotten
    assert {name for name in packages if not name.startswith(("fairseq_musc", "hydra_plugins."))} == set()
    assert setup_arguments["package_data"]["fairseq_musc.configs"] == ["*.yaml"]
    assert setup_arguments["package_data"]["fairseq_musc.page"] == ["templates/*"]


def test_every_folder_with_modules_is_a_package_but_the_namespace_of_hydra():
    for path in modules():
        for folder in list(path.parents)[:-1]:
            assert (ROOT / folder / "__init__.py").exists() == (folder != Path("hydra_plugins")), folder


def test_hydra_discovers_the_plugin_and_the_cheap_start_stays_cheap(tmp_path):
    printed = python(
        tmp_path,
        "import sys, fairseq_musc, fairseq_musc.cli\n"
        "print(sorted({'torch', 'fairseq', 'transformers', 'numpy', 'hydra'} & set(sys.modules)))\n"
        "from hydra.core.plugins import Plugins\n"
        "print([plugin.__name__ for plugin in Plugins.instance().discover() if 'fairseq_musc' in plugin.__module__])\n"
        "print(sorted({'torch', 'fairseq', 'fairseq_musc.registration'} & set(sys.modules)))",
    )
    assert printed.splitlines() == ["[]", "['FairseqMuscRecipes']", "[]"]


def test_the_plugin_and_the_command_line_import_nothing_heavy_at_their_top():
    heavy = {"torch", "fairseq", "fairseq_cli", "transformers"}
    for name in ("fairseq_musc/cli.py", "hydra_plugins/fairseq_musc_recipes/search_path.py"):
        tree = ast.parse((ROOT / name).read_text())
        tops = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        tops |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
        assert not {top.partition(".")[0] for top in tops} & heavy


@pytest.mark.parametrize(
    "name",
    ["requirements.txt", "requirements-fairseq.txt", "requirements-easynmt.txt", "requirements-transformers5.txt"],
)
def test_the_lists_pin_one_exact_version_each(name):
    assert pins(name)
    for requirement in pins(name).values():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement


#: The extras that requirements.txt has what they ask for.
TESTED = ("ctranslate2", "datasets", "ray", "report", "slurm")


def test_the_pins_satisfy_what_setup_asks_for(setup_arguments):
    lock, other = (
        {**pins("requirements.txt"), **pins("requirements-easynmt.txt")},
        pins("requirements-transformers5.txt"),
    )
    extras = setup_arguments["extras_require"]
    from_extras = [asked for name in TESTED for asked in extras[name]]
    for asked in map(Requirement, [*setup_arguments["install_requires"], *from_extras, extras["easynmt"][0]]):
        for pinned in filter(None, (lock[canonical(str(asked))], other.get(canonical(str(asked))))):
            assert asked.specifier.contains(str(pinned.specifier).removeprefix("==")), (asked, pinned)
    assert extras["fairseq"] == [str(pins("requirements-fairseq.txt")["fairseq-fixed"])]


def test_no_list_brings_torchaudio():
    for path in ROOT.glob("requirements*.txt"):
        assert "torchaudio" not in pins(path.name)
