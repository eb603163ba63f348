"""The documentation as a site: `make docs` builds it, it loads nothing from anywhere, and no page is lost."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import html

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def conf():
    """``docs/conf.py``, as Sphinx reads it."""
    spec = importlib.util.spec_from_file_location("docs_conf", ROOT / "docs" / "conf.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        from astroid.manager import AstroidManager

        patch.setattr(AstroidManager, "ast_from_module_name", AstroidManager.ast_from_module_name)  # put back behind
        spec.loader.exec_module(module)
    return module


def read(conf, page):
    """A page as Sphinx gets it."""
    source = [(ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")]
    conf.take_from_elsewhere(None, page, source)
    return source[0]


def test_the_menu_names_pages_that_are_there(conf):
    assert conf.named_pages() <= set(conf.pages())


def test_a_page_that_the_menu_does_not_name_stands_in_it_all_the_same(conf, monkeypatch):
    assert "\nforgotten\n" not in read(conf, "index")
    there = conf.pages()
    monkeypatch.setattr(conf, "pages", lambda: [*there, "forgotten"])
    assert ":caption: More\n\nforgotten\n```" in read(conf, "index")


def test_the_home_page_is_the_readme_with_its_links_on_the_site(conf):
    home = read(conf, "index")
    assert home.startswith("# fairseq-musc\n") and "](install.md)" in home and "](contributing.md)" in home
    assert "](docs/" not in home
    assert "What `--help`" not in home and read(conf, "contributing").startswith("# How to work on fairseq-musc")


def test_every_verb_is_among_the_commands(conf):
    from fairseq_musc.cli import VERBS

    commands = read(conf, "commands")
    for verb in VERBS:
        assert f"## {verb}\n\n```text\nusage: fairseq-musc {verb} " in commands


def test_every_formula_becomes_mathml(conf):
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    formulas = re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL) + re.findall(r"(?<!\$)\$([^$\n]+)\$(?!\$)", text)
    assert len(formulas) > 30
    for formula in formulas:
        assert "<math" in conf.tex2mathml(formula), formula


@pytest.mark.long
def test_the_site_is_built_without_a_warning_and_loads_nothing(tmp_path):
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("_build", "reference"))
    (tmp_path / "docs" / "forgotten.md").write_text("# A forgotten page\n")
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", tmp_path / "docs", site],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    for path in pages:
        tree = html.parse(path).getroot()
        loaded = [*tree.xpath("//@src"), *tree.xpath("//link[@rel='stylesheet' or @rel='preload']/@href")]
        assert not [link for link in loaded if re.match(r"(https?:)?//", link)], path
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style
    home = html.parse(site / "index.html").getroot()
    menu = [link.text_content() for link in home.xpath("//div[@class='sidebar-tree']//a")]
    assert {"The method", "The report page", "A forgotten page", "Commands"} <= set(menu)
    assert len(html.parse(site / "method.html").getroot().xpath("//*[local-name()='math']")) > 30
    assert (site / "reference" / "fairseq_musc" / "criterions" / "musc" / "index.html").exists()


def test_the_messages_of_this_package_are_those_that_it_says():
    """Headings below "Said by this package" in docs/troubleshooting.md, part by part, against the sources."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    section = re.search(r"\n## Said by this package\n(.*?)\n## ", text, re.DOTALL)[1]
    messages = re.findall(r"^### `(.*)`$", section, re.MULTILINE)
    assert len(messages) > 8
    sources = [path for room in ("fairseq_musc", "tasks") for path in (ROOT / room).rglob("*.py")]
    said = "".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8")) for path in sources)
    for message in messages:
        for part in filter(str.strip, message.split("...")):
            assert part in said, message
