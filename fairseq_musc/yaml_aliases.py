"""YAML whose aliases stand for more than a machine holds: a list of ten, ten times over, nine times over."""

from __future__ import annotations

import yaml

from fairseq_musc.errors import InputError

#: How many values the aliases of a file may stand for: far more than any file of ours has.
MOST = 100_000


def check_aliases(text: str, where: str) -> None:
    """Looks at a text of YAML before something writes its aliases out.

    Args:
        text: of the file.
        where: what messages call it.

    Raises:
        InputError: its aliases stand for more than :data:`MOST` values, or for what they stand in.
        YAMLError, RecursionError: it is no YAML, or nested too deeply.
    """
    if "*" not in text:  # no alias; all else is as long as it is written
        return
    sizes: dict[int, int] = {}
    within: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in within:
            raise InputError(f"{where}: an alias stands for a value that it is itself a part of; write it out")
        if id(node) not in sizes:
            within.add(id(node))
            inner: list[yaml.Node] = []
            if isinstance(node, yaml.SequenceNode):
                inner = node.value
            elif isinstance(node, yaml.MappingNode):
                inner = [each for pair in node.value for each in pair]
            sizes[id(node)] = 1 + sum(map(size, inner))
            within.discard(id(node))
        return sizes[id(node)]

    for document in yaml.compose_all(text, yaml.SafeLoader):
        if document is not None and size(document) > MOST:
            raise InputError(f"{where}: its aliases stand for more than {MOST:,} values; write out what is meant")
