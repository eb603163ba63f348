"""``fairseq-musc`` in a process of its own, with the fake engine among the engines."""

import sys

from fairseq_musc.cli import main
from fairseq_musc.translate.engine import ENGINES

ENGINES["fake"] = "fake_engine"

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
