"""Text <-> pieces of m2m_100, for every engine that reads the folder of the release."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairseq_musc.translate.release import Translator

#: Sentences that are encoded one by one. Given a list, SentencePiece starts a thread for each processor first, which
#: takes a hundred times as long as to encode a sentence, and thousands of long sentences are cut by the length of this
#: half and that.
FEW = 50


def language_token(language: str) -> str:
    """What stands before a sentence, on either side, to name its language."""
    return f"__{language}__"


class Pieces:
    """The SentencePiece model of a translator."""

    def __init__(self, translator: Translator):
        from sentencepiece import SentencePieceProcessor

        self._spm = SentencePieceProcessor(model_file=str(translator.sentencepiece))

    def encode(self, sentences: Sequence[str]) -> list[list[str]]:
        """The pieces of each sentence; a character that the model does not know is a piece, too."""
        if len(sentences) <= FEW:
            return [self._spm.encode(sentence, out_type=str) for sentence in sentences]
        encoded: list[list[str]] = self._spm.encode(list(sentences), out_type=str)
        return encoded

    def lengths(self, sentences: Sequence[str]) -> list[int]:
        """How many pieces each sentence has."""
        return [len(pieces) for pieces in self.encode(sentences)]

    @staticmethod
    def decode(pieces: Iterable[str], target_lang: str) -> str:
        """The text of pieces, as ``fairseq-generate --remove-bpe sentencepiece`` joins them.

        The token of the target language is taken out wherever it stands, and the marks of begin and end. What the model
        could not name (``<unk>``) becomes a space; Hugging Face and EasyNMT leave it out, too.
        """
        left_out = {language_token(target_lang), "<s>", "</s>"}
        text = "".join(piece for piece in pieces if piece not in left_out)
        return text.replace(" ", "").replace("\u2581", " ").strip().replace("<unk>", " ").strip()
