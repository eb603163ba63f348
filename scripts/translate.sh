#!/usr/bin/env bash
# Makes T_trn_MT from S_trn, S_val_MT from T_val and S_tst_MT from T_tst, each where its source is there.
# Started again, it goes on where it was.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: $0 CORPORA TRANSLATOR [options of fairseq-musc translate]" >&2
  exit 2
fi
exec fairseq-musc translate --corpora "$1" --translator "$2" --make T_trn_MT S_val_MT S_tst_MT --where-there "${@:3}"
