"""fairseq-generate's output comes back in input order, or not at all."""

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_musc.errors import InputError
from fairseq_musc.translate.generate_log import best_hypotheses

#: As fairseq 0.12 writes it: sources, hypotheses of two beams, scores, out of order, and log lines between.
LOG = """\
2024-01-01 10:00:00 | INFO | fairseq_cli.generate | loading model(s) from model.pt
S-2\t__de__ Guten Tag .
H-2\t-0.31\tGood day .
D-2\t-0.31\tGood day.
P-2\t-0.1 -0.2
H-2\t-0.72\tHello .
D-2\t-0.72\tHello.
S-0\t__de__ D-1\tlooks like a hypothesis
H-0\t-1.5e-05\tYes\twith a tab
D-0\t-1.5e-05\tYes\twith a tab
P-0\t0.0
S-1\t__de__ \x85
H-1\t-0.5\t
D-1\t-0.5\t
| Translated 3 sentences
"""


def test_a_log_typed_by_hand():
    lines = LOG.split("\n")
    assert best_hypotheses(lines, 3) == ["Yes\twith a tab", "", "Good day."]
    assert best_hypotheses(lines, 3, kind="H") == ["Yes\twith a tab", "", "Good day ."]


@given(
    st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))), st.integers(), st.booleans()
)
def test_any_order_and_any_text(texts, seed, ends):
    lines = [f"D-{i}\t-1.0\t{text}" + "\n" * ends for i, text in enumerate(texts)]
    random.Random(seed).shuffle(lines)
    assert best_hypotheses(lines, len(texts)) == texts


def test_every_fault_is_said_with_its_number_and_ids():
    lines = ["D-0\t-1.0\tfine", "D-one\t-1.0\tx", "D-1\t-1.0", "D-1\tbad\tx", "D-25\t-1.0\tx", "D-²\t-1\tx"]
    with pytest.raises(InputError) as error:
        best_hypotheses(lines, 13)
    message = str(error.value)
    assert "4 malformed" in message
    assert "line 2: 'D-one" in message
    assert "1 lines with an id beyond the 13" in message
    assert "25" in message
    assert "12 of 13 sentences have no hypothesis; ids 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ..." in message


def test_it_needs_no_torch():
    code = "import sys, fairseq_musc.translate.generate_log; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
