"""translate-all and MUSC for multilingual sentence classification, as a fairseq plugin.

Importing this package is cheap: it loads neither torch nor fairseq, so that reading, ensembling and reporting start at
once. What fairseq registers (task, criterion, model) is imported by :mod:`fairseq_musc.registration`.
"""

from fairseq_musc.version import __version__

__all__ = ["__version__"]
