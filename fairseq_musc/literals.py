"""Texts that fairseq would evaluate as Python, read as literals.

fairseq turns some settings into values by ``eval``: the betas of its Adam, lists of layers, switches. Such settings
come from recipes and from checkpoints, which come from strangers; a recipe with ``adam_betas: "__import__('os')..."``
would run it. In the modules of :data:`EVALUATING` the name ``eval`` is given a function that takes the same texts as
long as they are literals, with sums and products of them, and nothing that could be called.
"""

from __future__ import annotations

import ast
import importlib
from typing import Any

#: The modules of fairseq that call ``eval`` on settings. A test holds the list against the installed fairseq.
EVALUATING = (
    "fairseq.criterions.ctc",
    "fairseq.data.audio.raw_audio_dataset",
    "fairseq.data.codedataset",
    "fairseq.models.fconv",
    "fairseq.models.fconv_lm",
    "fairseq.models.fconv_self_att",
    "fairseq.models.hubert.hubert",
    "fairseq.models.lightconv_lm",
    "fairseq.models.speech_to_text.s2t_wav_transformer",
    "fairseq.models.transformer_lm",
    "fairseq.models.wav2vec.wav2vec",
    "fairseq.models.wav2vec.wav2vec2",
    "fairseq.optim.adafactor",
    "fairseq.optim.adam",
    "fairseq.optim.adamax",
    "fairseq.optim.cpu_adam",
    "fairseq.optim.fused_lamb",
    "fairseq.utils",
)
_ALLOWED = (
    *(ast.Expression, ast.Constant, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Load),
    *(ast.UnaryOp, ast.USub, ast.UAdd, ast.Not, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div),
)


def literal(text: str) -> Any:
    """The value of a text of Python literals, with sums and products of them: ``[(512, 10, 5)] + [(512, 3, 2)] * 4``.

    Raises:
        ValueError: there is anything else in it, a name or a call for instance.
    """
    try:
        tree = ast.parse(str(text).strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{text!r} is not a literal of Python") from None
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"{text!r} is not a literal of Python: it has a {type(node).__name__} in it")
    return eval(compile(tree, "<setting>", "eval"), {"__builtins__": {}})  # no names and no calls are in it


def let_fairseq_read_literals() -> None:
    """Gives the modules of :data:`EVALUATING` :func:`literal` for ``eval``; calling it again changes nothing."""
    for name in EVALUATING:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue  # it needs a package that is not here; then it evaluates nothing
        module.eval = literal  # type: ignore[attr-defined]
