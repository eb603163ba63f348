"""What `make venv` and the wheel install: every module, importable from anywhere, and nothing heavy before its time."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import pytest
import setuptools
from packaging.requirements import Requirement

from fairseq_musc.version import __version__

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


#: Where fairseq would be, nothing is found; what a module of fairseq's name then raises is Python's own error.
WITHOUT_FAIRSEQ = """
import sys

class Nowhere:
    def find_spec(name, path=None, target=None):
        if name in ("fairseq", "fairseq_cli"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nowhere)
from fairseq_musc.cli import main
for line in sys.argv[1:]:
    print(main(line.split()))
"""


def test_a_verb_that_needs_fairseq_says_how_it_is_installed(world, tmp_path):
    (tmp_path / "en-de.tsv").write_text("".join(f"text {n}\tText {n}\n" for n in range(50)), encoding="utf-8")
    commands = [
        f"predict --checkpoint a --data {world.data} --predictions c",
        f"probe --checkpoint {world.encoder}/config.json --data {world.data}",
        "export a b",
        "grid --config-name musc_pawsx --output grid",
        f"run-table --table 3 --config-name musc_pawsx --data {world.data} --output runs",
        "train-translator --parallel . --output t --vocabulary 40 --updates 1 --held-out 1",
        "demo-data --output d --train 1 --valid 1 --test 1 --parallel 1",
    ]
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_FAIRSEQ, *commands],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.splitlines() == [*6 * ["2"], "d: 1 train, 1 valid, 1 test, 1 parallel", "0"], done.stderr
    said = [line for line in done.stderr.splitlines() if "error" in line]
    assert [line.partition(" is not installed, and this verb needs it: pip install ")[0] for line in said] == [
        f"fairseq-musc {command.split()[0]}: error: fairseq" for command in commands[:6]
    ]
    assert all(line.endswith("pip install --no-deps --no-build-isolation fairseq-fixed") for line in said)
    assert {path.name for path in tmp_path.iterdir()} == {"en-de.tsv", "d"}


def test_the_plugin_and_the_command_line_import_nothing_heavy_at_their_top():
    heavy = {"torch", "fairseq", "fairseq_cli", "transformers"}
    for name in ("fairseq_musc/cli.py", "hydra_plugins/fairseq_musc_recipes/search_path.py"):
        tree = ast.parse((ROOT / name).read_text())
        tops = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        tops |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
        assert not {top.partition(".")[0] for top in tops} & heavy


@pytest.mark.parametrize(
    "name",
    [
        *("requirements.txt", "requirements-fairseq.txt", "requirements-easynmt.txt"),
        *("requirements-transformers5.txt", "requirements-release.txt", "requirements-kernels.txt"),
    ],
)
def test_the_lists_pin_one_exact_version_each(name):
    assert pins(name)
    for requirement in pins(name).values():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement


HASHED = (
    *("requirements.txt", "requirements-fairseq.txt", "requirements-easynmt.txt"),
    *("requirements-release.txt", "requirements-kernels.txt"),
)


@pytest.mark.parametrize("name", HASHED)
def test_every_file_but_torch_is_held_against_a_hash_of_the_pinned_version(name):
    pinned = {package: str(requirement.specifier) for package, requirement in pins(name).items()}
    pinned.pop("torch", None)  # CPU or CUDA, of an index or of the site's own making
    hashed = {}
    lines = (ROOT / "hashes" / name).read_text().replace("\\\n", " ").splitlines()
    for line in lines:
        if not line.startswith("#"):
            requirement, *hashes = line.split()
            assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes) and hashes, line
            hashed[canonical(requirement)] = str(Requirement(requirement).specifier)
    assert hashed == pinned, "make hashes"


def test_what_has_hashes_is_installed_by_them():
    dry = [
        *("make", "--dry-run", "--always-make", "venv", "licences", "test-kernels"),
        f"VENV={ROOT / '.no-such-environment'}",
    ]
    done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in HASHED:
        assert f"--require-hashes --requirement hashes/{name}" in done.replace("--no-deps --no-build-isolation ", "")
    without = subprocess.run([*dry, "HASHES=no"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--require-hashes --requirement hashes/" not in without.partition("--requirement requirements.txt")[2]


#: The extras that requirements.txt has what they ask for.
TESTED = ("ctranslate2", "datasets", "dev", "pretrain", "ray", "report", "slurm", "tensorboard")


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
    # It would bring torchaudio along, see setup.py.
    assert not any(canonical(each) == "fairseq-fixed" for asked_for in extras.values() for each in asked_for)


#: What is asked for and imported by others, not by us.
FOR_OTHERS = {
    "accelerate": "transformers",
    "bitarray": "fairseq",
    "cffi": "fairseq",
    "protobuf": "transformers",
    "sacremoses": "fairseq",
    "hydra-submitit-launcher": "Hydra",
    "wandb": "fairseq",
}


def imports():
    """Third-party distributions that the package imports, each with whether it is at the top of some file."""
    found = {}
    distribution_of = packages_distributions()
    for path in modules():
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        top = set(tree.body)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            elif isinstance(node, ast.Call) and getattr(node.func, "id", None) == "package":  # of data/hub.py
                names = [node.args[0].value]
            else:
                continue
            for name in {name.partition(".")[0] for name in names} - {*sys.stdlib_module_names, "fairseq_musc"}:
                for distribution in distribution_of.get(name, [name]):
                    name = canonical(distribution)
                    found[name] = found.get(name, False) or node in top
    return found


def test_the_extras_name_what_the_code_imports(setup_arguments):
    always = {canonical(asked) for asked in setup_arguments["install_requires"]}
    extras = {
        name: {canonical(asked) for asked in asked_for} for name, asked_for in setup_arguments["extras_require"].items()
    }
    of_extras = set().union(*(names for extra, names in extras.items() if extra != "dev"))
    # What comes with those that are asked for, whatever happens, and what setup.py does not ask for.
    with_others = {"": {"fairseq", "fairseq-fixed"}, "torch": {"triton"}, "jinja2": {"markupsafe"}}
    with_others["transformers"] = {"huggingface-hub", "safetensors", "tokenizers"}
    covered = always | of_extras | set().union(*with_others.values())
    found = imports()
    assert set(found) <= covered, "imported, and no dependency"
    assert always | of_extras <= set(found) | set(FOR_OTHERS), "a dependency, and not imported"
    optional = of_extras - always - {"transformers"}
    at_the_top = {name for name, top in found.items() if top}
    assert not optional & at_the_top, "an extra may be missing: import it where it is used"


def test_the_changelog_is_about_this_version():
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    releases = [line for line in lines if line.startswith("## ")]
    found = [re.fullmatch(r"## \[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d{2}-\d{2}|unreleased)", line) for line in releases]
    assert all(found)
    versions = [tuple(map(int, release.groups()[:3])) for release in found]
    assert versions == sorted(versions, reverse=True)
    assert ".".join(map(str, versions[0])) == __version__
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {line.removeprefix("### ") for line in lines if line.startswith("### ")} <= kinds


def test_what_is_said_about_python_is_the_same_everywhere(setup_arguments):
    tried = [line.rpartition(" ")[2] for line in setup_arguments["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert setup_arguments["python_requires"] == f">={tried[0]}"
    install = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    said = re.search(r"## Releases of Python\n(.*?)\n## ", install, re.DOTALL)[1]
    assert re.findall(r"^\| (3\.\d+) \|", said, re.MULTILINE) == tried
    candidates = re.search(r"\(or \$\(PYTHON\),(.*?)\)", (ROOT / "Makefile").read_text())[1]
    assert {f"python{version}" for version in tried} <= {*candidates.split()}


def test_no_list_brings_torchaudio():
    for path in ROOT.glob("requirements*.txt"):
        assert "torchaudio" not in pins(path.name)
