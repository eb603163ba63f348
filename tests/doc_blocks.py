"""The command blocks of the documentation: what they are, what is said about running them, and the commands in them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "results").glob("*.md")]),
]

#: What a line begins with that is a command; ``$ `` and values for the environment may stand before it.
_PROGRAMS = (
    r"fairseq-[a-z-]+|scripts/\w+\.(?:sh|py)|benchmarks/\w+\.py|make|pip|python|pytest|cd|mkdir|export|\.ci/run|"
    r"\.venv/bin/\w+|tensorboard|apt-get|echo|for(?= \w+ in [^:;]+; do)"
)
_COMMAND = re.compile(rf"(?P<prompt>\$ )?(?P<values>(?:[A-Z_]+=(?:<[^>]*>|\S+) )*)(?:{_PROGRAMS})(?=\s|$)")
#: What a comment before a block may say, and what has to follow.
_MARK = re.compile(r"<!-- test: (?P<how>run|long|by|form)(?:(?<=by)\s+(?P<file>\S+))? -->\s*")
#: What a block may hold in the place of something that a reader knows.
PLACEHOLDERS = {
    "[overrides]": "",
    "[FOLDER ...]": "",
    "musc_DATASET": "musc_pawsx",
    "--dataset NAME": "--dataset pawsx",
    "<the index>": "index",
    "$terms": "ce+sc",
}


@dataclass(frozen=True)
class Block:
    """A block of a page."""

    page: str
    """Relative to the repository."""
    line: int
    language: str
    text: str
    how: str | None
    """``run``, ``long``, ``by``, ``form``; None where nothing is said."""
    about: str | None
    """The file that runs it."""

    @property
    def name(self):
        return f"{self.page}:{self.line}"

    @property
    def script(self):
        """Its text, if that is one for the shell: with a loop, or with what counts for the commands behind it."""
        is_one = any(re.match("(?:export|for|echo) ", command) for command in self.commands)
        return re.sub(r"\\\n\s*", "", self.text) if is_one else None

    @property
    def commands(self):
        """The commands, each on one line, in their order; those after a prompt alone, if there are any."""
        if self.language.startswith("{"):  # a directive of the site
            return []
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        found = [(match, line) for line in lines if (match := _COMMAND.match(line.strip()))]
        prompted = [line.strip()[2:] for match, line in found if match["prompt"]]
        return prompted or [line.strip() for _, line in found]


def blocks_of(path):
    """The blocks of a page: indented ones and fenced ones."""
    return blocks_in(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))


def blocks_in(text, page):
    """The blocks of a text.

    Raises:
        ValueError: a comment about testing is none of those that are known, or no block follows it.
    """
    found, mark = [], None
    for token in MarkdownIt("commonmark").parse(text):
        where = f"{page}:{token.map[0] + 1}" if token.map else page
        if token.type == "html_block" and "test:" in token.content:
            mark = _MARK.fullmatch(token.content)
            if not mark or (mark["how"] == "by") != bool(mark["file"]):
                raise ValueError(f"{where}: {token.content.strip()} says nothing that is known")
            continue
        if token.type in ("code_block", "fence"):
            how, about = (mark["how"], mark["file"]) if mark else (None, None)
            found.append(Block(page, token.map[0] + 1, token.info.strip(), token.content, how, about))
        elif mark:
            raise ValueError(f"{where}: a comment about testing stands before something else than a block")
        mark = None
    if mark:
        raise ValueError(f"{page}: a comment about testing stands at the end")
    return found


def every_block():
    """The blocks of all pages."""
    return [block for path in PAGES for block in blocks_of(path)]


def words_of(command):
    """A command as the shell would split it, placeholders filled in; several where ``&&`` or ``|`` joins them."""
    for placeholder, value in PLACEHOLDERS.items():
        command = command.replace(placeholder, value)
    parts = [[]]
    splitter = shlex.shlex(command, posix=True, punctuation_chars="&|;<>")
    splitter.whitespace_split = True
    for word in splitter:
        if word in ("&&", "|", ";", "||"):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]
