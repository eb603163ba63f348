"""translate-all and MUSC for multilingual sentence classification, as a fairseq plugin.

Importing this package is cheap: it loads neither torch nor fairseq, so that reading, ensembling and reporting start at
once. What fairseq registers (task, criterion, model) is imported by :mod:`fairseq_musc.registration`; the class for
Python, :class:`~fairseq_musc.api.classifier.TranslateAllClassifier`, when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from fairseq_musc.version import __version__

if TYPE_CHECKING:
    from fairseq_musc.api import TranslateAllClassifier

__all__ = ["TranslateAllClassifier", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "TranslateAllClassifier":
        from fairseq_musc.api import TranslateAllClassifier

        return TranslateAllClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
