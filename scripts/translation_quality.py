#!/usr/bin/env python
"""How often the checks of translations see a flaw in sound human translations, and in ones spoilt on purpose.

usage: translation_quality.py FLORES [PARALLEL]

FLORES holds devtest.<xx>, aligned lines in several languages, each translated from the same English; PARALLEL holds
en-<xx>.tsv.gz, a sentence in English, a tab, and one in the other language, on each line.
"""

import gzip
import itertools
import random
import sys
from collections import Counter
from pathlib import Path

from fairseq_musc.evaluate.layout import aligned
from fairseq_musc.translate.quality import FLAWS, flaws, scripts_of, tally


def share(count, rows):
    """A count in %."""
    return f"{100 * count / rows:.3f}" if rows else "–"


def rates(name, found):
    """A line of the first table: how many texts have each flaw, in %, from the flaws of each."""
    counts = tally(found)
    return [name, f"{len(found)}", *(share(counts[flaw], len(found)) for flaw in ("flawed", *FLAWS))]


def again_and_again(text):
    """The text, the end of which comes eight more times."""
    words = text.split() if " " in text else list(text)
    end = words[-4:] if " " in text else words[-6:]
    return (" " if " " in text else "").join(words + 8 * end)


def stuck(text):
    """The text, the last letter of which comes forty more times."""
    letters = [character for character in text if character.isalpha()]
    return text + 40 * letters[-1]


def with_another_word(text, choose):
    """The text, with one of its words (or characters, if there is no space in it) replaced by another of them."""
    between = " " if " " in text else ""
    words = text.split() if between else list(text)
    words[choose.randrange(len(words))] = choose.choice(words)
    return between.join(words)


def spoilt(texts, source, target, choose):
    """Yields source, spoilt translation, what was done to it, and the flaw to be seen; of every tenth line."""
    own = set(scripts_of(target))
    others = [
        language for language in texts if not own & set(scripts_of(language)) or {language, target} == {"ja", "zh"}
    ]
    for i in range(0, len(texts[source]), 10):
        before, after = texts[source][i], texts[target][i]
        yield before, before, "the source", "copy"
        yield before, with_another_word(before, choose), "the source with another word", "copy"
        yield before, again_and_again(after), "its end eight times more", "loop"
        yield before, stuck(after), "its last letter forty times more", "loop"
        for other in set(others) - {source}:
            sharing = {other, target} == {"ja", "zh"}
            done = f"the same in {other} for {target}" if sharing else "the same in a language of another script"
            yield before, texts[other][i], done, "script"
        yield before, after[: len(after) // 4], "its first quarter", "length"
        following = [texts[target][(i + step) % len(texts[target])] for step in (1, 2, 3)]
        yield before, " ".join([after, *following]), "three more sentences", "length"
        yield before, "", "nothing", "empty"
        yield before, " .", "a full stop", "empty"


def main(flores, parallel=None):
    """Prints the two tables."""
    texts = {
        path.suffix[1:]: path.read_text(encoding="utf-8").splitlines()
        for path in sorted(Path(flores).glob("devtest.*"))
    }
    directions = list(itertools.permutations(texts, 2))
    print("Sound translations in which a flaw is seen, in %\n")
    lines = [["text", "rows", "any", *FLAWS]]
    found = {(a, b): [flaws(*pair, a, b) for pair in zip(texts[a], texts[b], strict=True)] for a, b in directions}
    lines.append(rates(f"FLORES, {len(directions)} directions", list(itertools.chain(*found.values()))))
    lines += [rates(f"  {a}-{b}", seen) for (a, b), seen in found.items() if any(seen)]
    for path in sorted(Path(parallel).glob("en-*.tsv.gz")) if parallel else ():
        language = path.name.removeprefix("en-").removesuffix(".tsv.gz")
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as stream:
            pairs = [line.rstrip("\n").split("\t") for line in stream]
        lines.append(rates(f"parallel en-{language}", [flaws(*pair, "en", language) for pair in pairs]))
    print("\n".join(aligned(lines)))

    print("\nFLORES translations spoilt on purpose in which the flaw is seen, in %\n")
    tried, seen = Counter(), Counter()
    choose = random.Random(1)
    for a, b in directions:
        for before, after, done, flaw in spoilt(texts, a, b, choose):
            tried[flaw, done] += 1
            seen[flaw, done] += flaw in flaws(before, after, a, b)
    lines = [["flaw", "in place of the translation, or done to it", "rows", "seen"]]
    for flaw, done in sorted(tried, key=lambda kind: FLAWS.index(kind[0])):
        lines.append([flaw, done, f"{tried[flaw, done]}", share(seen[flaw, done], tried[flaw, done])])
    print("\n".join(aligned(lines, names=2)))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
