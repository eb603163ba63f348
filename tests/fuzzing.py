"""What a reader is fuzzed with, and the counts of it: for ``tests/test_hostile_text.py`` and ``tests/fuzz.py``.

A reader is tried with inputs of hypothesis. It may read them, or raise :class:`InputError`, which is how it says what
is wrong with them; all else is a failure.
"""

import hashlib
import os
import tempfile
from array import array
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fairseq_musc.errors import InputError

#: Inputs for each reader in a test.
TIMES = int(os.environ.get("FUZZ", "60"))
#: The fewest that a test tries of a slow reader.
FEWEST = 10
#: Where files cost least.
SHM = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Reader:
    """A function that reads hostile input and says by an assertion if a part of it was lost."""

    def __init__(self, function, strategies, slower):
        self.function, self.slower = function, slower
        self.name = function.__doc__.rstrip(".")
        self.inputs = st.tuples(*strategies)

    def attempt(self, times, tally, seed=None, root=SHM, notice=None):
        """Tries so many inputs.

        Args:
            times: how many.
            tally: :class:`Tally` that counts them.
            seed: of hypothesis; None for one that is drawn.
            root: where the folder of each input lies.
            notice: is called with each input as text before it is tried, and with None behind it.

        Raises:
            Exception: what the reader raised that is not :class:`InputError`, with the smallest such input in a note.
        """

        @settings(
            max_examples=times,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
            print_blob=False,
        )
        @given(self.inputs)
        def attempt(given_values):
            text = repr(given_values)
            tally.add(text)
            if notice is not None:
                notice(text)
            try:
                with tempfile.TemporaryDirectory(dir=root) as folder:
                    self.function(Path(folder), *given_values)
            except InputError:
                tally.refused += 1
            finally:
                if notice is not None:
                    notice(None)

        if seed is not None:
            attempt = hypothesis.seed(seed)(attempt)
        attempt()


class Tally:
    """The inputs of a reader."""

    def __init__(self):
        self.inputs = 0
        self.refused = 0
        self.hashes = array("Q")
        """Of every input, by which the distinct ones are counted."""

    def add(self, text):
        self.inputs += 1
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self.hashes.append(int.from_bytes(digest, "little"))


#: All readers that are fuzzed, in the order in which they are declared.
READERS = []


def fuzz(*strategies, slower=1):
    """Makes a function a reader, which takes so many times fewer inputs, and a test that tries a few."""

    def decorated(function):
        reader = Reader(function, strategies, slower)
        READERS.append(reader)

        def test(promise):
            times, tally = max(FEWEST, TIMES // slower), Tally()
            reader.attempt(times, tally)
            assert tally.inputs >= min(times, FEWEST)
            promise("hostile text", reader.name, tally.inputs)

        test.__doc__ = function.__doc__
        return test

    return decorated
