"""What translated a corpus, as signatures name it, and whether two corpora were translated by the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

#: The files of a translator that tell it from another: its weights.
WEIGHTS = (".pt", ".bin", ".safetensors")


def translator_of(provenance: dict[str, Any]) -> str | None:
    """How a signature names the translator of a corpus; None for text that people wrote.

    E.g. ``fairseq with model.pt (SHA-256 203eda5efa85)``, and ``, hypothesis 2`` behind it for its second-best
    translations.
    """
    if "translated_by" in provenance:
        return f"{provenance['translated_by']} (published)"
    if "engine" not in provenance:
        return None
    files: dict[str, str] = provenance["translator"]
    weights = {name: digest for name, digest in files.items() if name.endswith(WEIGHTS)} or files
    named = ", ".join(f"{name} (SHA-256 {digest[:12]})" for name, digest in weights.items())
    rank = provenance.get("hypothesis", 1)
    by = f"{provenance['engine']} with {named}" if named else provenance["engine"]  # a function of the user's
    return by + (f", hypothesis {rank}" if rank > 1 else "")


def model_of(translator: str) -> str:
    """What tells a translator from another: the checksums in its name, or the whole name if it has none.

    Neither the engine nor which of its hypotheses were taken makes it another.
    """
    return "+".join(re.findall(r"SHA-256 ([0-9a-f]{12})", translator)) or translator


def short_name(translator: str) -> str:
    """A translator's name in brackets behind that of a corpus, e.g. ``203eda5efa85/2`` for second-best translations."""
    rank = re.search(r", hypothesis (\d+)$", translator)
    return model_of(translator) + (f"/{rank[1]}" if rank else "")


def mismatch(trained: Iterable[str], used: Iterable[str | None], doing: str) -> str | None:
    """A warning if something is done with translations by others than those trained on; None if not.

    Args:
        trained: the translators of the training corpora, as :func:`translator_of` names them.
        used: those of what is predicted or validated on; names joined with ``+`` count each, None is no translation.
        doing: what is done with these, e.g. ``predicting``.
    """
    trained = sorted({*trained})
    known = {*map(model_of, trained)}
    names = {name for translator in used if translator for name in translator.split(" + ")}
    others = sorted(name for name in names if model_of(name) not in known)
    if not trained or not others:
        return None
    return (
        f"trained on translations by {' and '.join(trained)}, {doing} translations by {' and '.join(others)}: what a "
        "translator leaves in its texts helps where training and inference share it (section 4 of the paper). "
        "Translate both with one to measure the method"
    )
