#!/usr/bin/env bash
# Makes S_trn_MT from T_trn, and T_trn_BT from it; both stay. Started again, it goes on where it was.
set -euo pipefail
if [ $# -lt 2 ]; then
  echo "usage: $0 CORPORA TRANSLATOR [options of fairseq-musc translate]" >&2
  exit 2
fi
exec fairseq-musc translate --corpora "$1" --translator "$2" --make S_trn_MT T_trn_BT "${@:3}"
