"""Texts that fairseq would evaluate as Python, read as literals.

fairseq turns some settings into values by ``eval``: the betas of its Adam, lists of layers, switches. Such settings
come from recipes and from checkpoints, which come from strangers; a recipe with ``adam_betas: "__import__('os')..."``
would run it. In the modules of :data:`EVALUATING` the name ``eval`` is given a function that takes the same texts as
long as they are literals, with sums and products of them, and nothing that could be called.
"""

from __future__ import annotations

import ast
import importlib
import operator
from collections.abc import Callable
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
_OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    **{ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_},
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv},
}
#: How long a list or a text may become by ``*``: far more layers than there are, far less than would fill a machine.
LONGEST = 100_000


def literal(text: str) -> Any:
    """The value of a text of Python literals, with sums and products of them: ``[(512, 10, 5)] + [(512, 3, 2)] * 4``.

    Raises:
        ValueError: there is anything else in it, a name or a call for instance; or it has no value, as ``-""``; or it
            grows beyond :data:`LONGEST`.
    """
    try:
        tree = ast.parse(str(text).strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{text!r} is not a literal of Python") from None
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            raise ValueError(f"{text!r} is not a literal of Python: it has a {type(node).__name__} in it")
    try:
        return _value(tree.body)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{text!r} is not a literal of Python that has a value: {error}") from None


def _value(node: ast.expr) -> Any:
    """What a tree of literals says."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        made = [_value(each) for each in node.elts]
        return {ast.Tuple: tuple, ast.List: list, ast.Set: set}[type(node)](made)
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise TypeError("it takes one dictionary into another")
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.UnaryOp):
        return _OPERATIONS[type(node.op)](_value(node.operand))
    assert isinstance(node, ast.BinOp)
    one, two = _value(node.left), _value(node.right)
    if isinstance(node.op, ast.Mult):
        for many, times in ((one, two), (two, one)):
            if hasattr(many, "__len__") and isinstance(times, int) and len(many) * times > LONGEST:
                raise ValueError(f"it is longer than {LONGEST:,}")
    return _OPERATIONS[type(node.op)](one, two)


def let_fairseq_read_literals() -> None:
    """Gives the modules of :data:`EVALUATING` :func:`literal` for ``eval``; calling it again changes nothing."""
    for name in EVALUATING:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue  # it needs a package that is not here; then it evaluates nothing
        module.eval = literal  # type: ignore[attr-defined]
