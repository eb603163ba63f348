"""Scores a translator on aligned texts: BLEU and chrF of every direction, by sacreBLEU and with its signatures.

reads   TRANSLATOR/            the files of fairseq's m2m_100 release, or of train-translator
        REFERENCES/<...>.<xx>  a text in each language, line by line translations of one another, e.g. FLORES-200 as
                               devtest.en, devtest.de, ...: each is a source text and a reference for the others
writes  OUTPUT/scores.tsv, scores.md, scores.json
                               the table; JSON has what it was made with, and the signatures
        OUTPUT/<aa>-<bb>.txt   the translations, a line each

A direction whose translations are there and were made from the same text with the same translator and settings is
scored again without translating.
"""

from __future__ import annotations

from typing import Any

#: sacreBLEU's tokenizer for languages that its own default (13a) does not cut into words.
BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char", "km": "char", "lo": "char", "my": "char"}


def bleu(hypotheses: list[str], references: list[str], language: str) -> dict[str, Any]:
    """sacreBLEU of translations into a language, with its signature."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=BLEU_TOKENIZERS.get(language, "13a"))
    score = metric.corpus_score(hypotheses, [references]).score
    return {"score": round(score, 2), "lines": len(references), "signature": str(metric.get_signature())}


def chrf(hypotheses: list[str], references: list[str]) -> dict[str, Any]:
    """sacreBLEU's chrF of translations, with its signature."""
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    score = metric.corpus_score(hypotheses, [references]).score
    return {"score": round(score, 2), "lines": len(references), "signature": str(metric.get_signature())}
