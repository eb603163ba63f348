"""Reads what ``fairseq-generate`` writes, back into the order of its input.

fairseq sorts sentences by length and can lose some in silence: a last batch that is no multiple of
``--required-batch-size-multiple``, or sentences filtered by size. So the order is restored from the ids, and every id
must be there.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairseq_musc.errors import InputError

SHOWN = 10


def best_hypotheses(lines: Iterable[str], rows: int, kind: str = "D") -> list[str]:
    """The best hypothesis of each of ``rows`` input sentences, in input order.

    Args:
        lines: of ``generate-test.txt``, without or with their line ends, in any order.
        rows: how many sentences went in; their ids are 0 to ``rows - 1``.
        kind: ``D`` for detokenised hypotheses, ``H`` for those before ``--bpe`` and ``--tokenizer``.

    With ``--nbest`` an id stands several times, best first; the first is taken. Lines of another kind (sources,
    scores, log) are passed over.

    Raises:
        InputError: lines that begin as a hypothesis but are none, ids that were not in the input, ids without a
            hypothesis; all of these at once, with their number and the first of them.
    """
    found: dict[int, str] = {}
    malformed, unknown = [], []
    for number, line in enumerate(lines, start=1):
        if not line.startswith(f"{kind}-"):
            continue
        cells = line.removesuffix("\n").split("\t", 2)
        digits = cells[0][len(kind) + 1 :]
        if len(cells) != 3 or not (digits.isascii() and digits.isdigit()) or not is_number(cells[1]):
            malformed.append(f"line {number}: {line[:60]!r}")
        elif int(digits) >= rows:
            unknown.append(digits)
        else:
            found.setdefault(int(digits), cells[2])
    missing = [str(i) for i in range(rows) if i not in found]
    problems = []
    if malformed:
        problems.append(f"{len(malformed)} malformed {kind}- lines: {some(malformed)}")
    if unknown:
        problems.append(f"{len(unknown)} lines with an id beyond the {rows} sentences that went in: {some(unknown)}")
    if missing:
        problems.append(f"{len(missing)} of {rows} sentences have no hypothesis; ids {some(missing)}")
    if problems:
        raise InputError.all_at_once(
            "the output of fairseq-generate does not answer its input; generate again, with "
            "--required-batch-size-multiple 1 and without --skip-invalid-size-inputs-valid-test:",
            problems,
        )
    return [found[i] for i in range(rows)]


def is_number(cell: str) -> bool:
    """Whether a score can be read as one."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def some(items: list[str]) -> str:
    """The first few items, and a mark if there are more."""
    return ", ".join(items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")
