"""An engine that needs no model: for tests of all that is around engines.

A translation is the sentence's words turned round in the other case, marked with direction and rank: ``a B`` ->
``b A [de-en]``. It is steered by the environment, so that it can be in another process:

- every sentence that is translated is a line of ``LOG``, with the process, if the environment names a file so;
- a sentence with the word FLAW is left as it is, but for the third of the hypotheses of a beam wider than 5, and one
  with the word HOPELESS always;
- ``SECONDS`` is how long a batch takes; ``KILL_AT`` names a sentence at which the process dies, ``FAIL_AT`` one at
  which the engine raises.

Use it with ``pytest_plugins = ["fake_engine"]`` and the fixture ``fake``.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from fairseq_musc.errors import InputError
from fairseq_musc.translate.engine import ENGINES, Hypothesis

LANGUAGES = ["de", "en", "fr", "ja"]
translated = []
"""The sentences that were translated in this process."""


def translation(sentence, source_lang, target_lang, rank=1):
    better = "" if rank == 1 else f" ({rank})"
    return f"{' '.join(reversed(sentence.swapcase().split()))} [{source_lang}-{target_lang}]{better}"


class FakeEngine:
    longest = 50

    def __init__(self, folder, decoding, device):
        self.digest = (Path(folder) / "fake.pt").read_text()
        self.decoding = decoding
        self.device = device

    def require(self, languages):
        unknown = sorted(set(languages) - set(LANGUAGES))
        if unknown:
            raise InputError(f"the fake does not know {', '.join(unknown)}; it knows {', '.join(LANGUAGES)}")

    def lengths(self, sentences):
        return [len(sentence.split()) for sentence in sentences]

    def translate(self, batches, source_lang, target_lang):
        for batch in batches:
            time.sleep(float(os.environ.get("SECONDS", "0")))
            if os.environ.get("KILL_AT") in batch:
                os.kill(os.getpid(), signal.SIGKILL)
            if os.environ.get("FAIL_AT") in batch:
                raise ZeroDivisionError
            translated.extend(batch)
            if "LOG" in os.environ:
                with open(os.environ["LOG"], "a", encoding="utf-8") as log:
                    log.write("".join(f"{os.getpid()}\t{sentence}\n" for sentence in batch))
            ranks = range(1, self.decoding.nbest + 1)
            yield [
                [Hypothesis(self.found(sentence, source_lang, target_lang, rank), -0.1 * rank) for rank in ranks]
                for sentence in batch
            ]

    def found(self, sentence, source_lang, target_lang, rank):
        flawed = "FLAW" in sentence and not (self.decoding.beam > 5 and rank == 3)
        if flawed or "HOPELESS" in sentence:
            return sentence
        return translation(sentence, source_lang, target_lang, rank)

    def provenance(self):
        return {"engine": "fake", "translator": {"fake.pt": self.digest}, "precision": self.device.precision}


def open_engine(folder, decoding, device):
    return FakeEngine(folder, decoding, device)


def make_folder(folder, digest="f" * 64):
    """The fake's translator: one file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fake.pt").write_text(digest)
    return folder


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The engine among the engines, its translator in ``tmp_path / "fake"``, and nothing translated yet."""
    monkeypatch.setitem(ENGINES, "fake", "fake_engine")
    make_folder(tmp_path / "fake")
    translated.clear()
