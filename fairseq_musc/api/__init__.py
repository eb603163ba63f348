"""translate-all in a few lines of Python: a classifier that is trained, predicts, is evaluated and written out.

Importing this loads neither torch nor fairseq; see :class:`~fairseq_musc.api.classifier.TranslateAllClassifier`.
"""

from fairseq_musc.api.classifier import TranslateAllClassifier
from fairseq_musc.api.predicted import Evaluation, Predicted

__all__ = ["Evaluation", "Predicted", "TranslateAllClassifier"]
