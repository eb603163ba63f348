#!/usr/bin/env bash
# translate-all on test data: predicts T_tst and S_tst_MT, averages both, and prints the table of accuracies.
# With CORPORA and TRANSLATOR it first makes what is not yet translated or binarized. What is done is not done again.
set -euo pipefail
if [ $# -lt 2 ] || [ $# -eq 3 ]; then
  cat >&2 <<USAGE
usage: $0 CHECKPOINT DATA [CORPORA TRANSLATOR [options of fairseq-musc translate]]
  CHECKPOINT  what fairseq-hydra-train wrote, e.g. checkpoints/musc_pawsx/checkpoint_best.pt
  DATA        the data-bin
  CORPORA     the folder that DATA was binarized from; TRANSLATOR: the files of m2m_100
writes the predictions tables, results.tsv and results.md to PREDICTIONS (default: beside CHECKPOINT, under its name)
USAGE
  exit 2
fi
checkpoint=$1 data=$2
predictions=${PREDICTIONS:-${checkpoint%.pt}.predictions}
if [ $# -ge 4 ]; then
  fairseq-musc translate --corpora "$3" --translator "$4" --make S_tst_MT "${@:5}"
  fairseq-musc binarize --corpora "$3" --data "$data" --only T_tst S_tst_MT
fi
fairseq-musc predict --checkpoint "$checkpoint" --data "$data" --predictions "$predictions"
fairseq-musc ensemble --predictions "$predictions"
fairseq-musc report --predictions "$predictions"
