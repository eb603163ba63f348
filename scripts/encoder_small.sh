#!/usr/bin/env bash
# A real small encoder of mBERT's kind: its vocabulary, fewer layers, pretrained by masked language modelling on training
# text. What is done is not done again; a training that was killed or stopped goes on.
set -euo pipefail
if [ $# -lt 4 ]; then
  cat >&2 <<USAGE
usage: $0 VOCAB PARALLEL OUTPUT SIZE [CORPORA ...]
  VOCAB     vocab.txt of bert-base-multilingual-cased, or of another BERT
  PARALLEL  en-de.tsv.gz, en-fr.tsv.gz, ...: english, tab, the other language; each side is text by itself
  SIZE      tiny: 30 updates, to see that the joints hold; small: a quarter of an hour on a CPU; full: 20 minutes on a
            GPU
  CORPORA   folders that fairseq-musc read has written; their S_trn and T_trn are taken, and nothing for validation or
            tests
writes OUTPUT/encoder; OUTPUT/encoder/pretraining.json has its perplexity on held-out texts
environment: LANGUAGES (of PARALLEL: en de fr es ja zh ru it ko), MINUTES (of training; full: 20), PART (minutes after
             which this command stops with status 3, to be given again), WORKERS (processes that make batches; full: 6),
             OPTIONS (further ones of pretrain-encoder; the last counts)
USAGE
  exit 2
fi
vocab=$1 parallel=$2 out=$3 size=$4
shift 4
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} TOKENIZERS_PARALLELISM=${TOKENIZERS_PARALLELISM:-true}
case $size in
tiny)
  encoder=(--hidden-size 32 --layers 1 --heads 2 --intermediate-size 64 --max-positions 64)
  training=(--limit 100 --held-out 5 --max-length 32 --batch-size 8 --updates 30 --warmup 5 --lr 0.005 --cpu)
  ;;
small)
  encoder=(--hidden-size 128 --layers 2 --heads 4 --intermediate-size 512)
  training=(--limit 4000 --held-out 20 --batch-size 16 --updates 2000 --warmup 100 --lr 0.002 --cpu)
  ;;
full)
  # 36 million parameters, of which 31 in the embeddings; 16 million pieces of text, seen some tens of times.
  MINUTES=${MINUTES:-20}
  encoder=(--hidden-size 256 --layers 6 --heads 4 --intermediate-size 1024)
  training=(--batch-size 256 --warmup 500 --lr 0.001 --precision bf16 --save-every 2000
    --num-workers "${WORKERS:-6}")
  ;;
*)
  echo "$0: SIZE is '$size'; it is tiny, small or full" >&2
  exit 2
  ;;
esac

[ ! -d "$out/encoder" ] || exit 0
[ -d "$out/untrained" ] || fairseq-musc new-encoder --output "$out/untrained" --vocab "$vocab" "${encoder[@]}"
# shellcheck disable=SC2086  # languages and options are words
fairseq-musc pretrain-encoder --encoder "$out/untrained" --output "$out/encoder" --parallel "$parallel" \
    --languages ${LANGUAGES:-en de fr es ja zh ru it ko} "${training[@]}" ${MINUTES:+--minutes "$MINUTES"} \
    ${PART:+--stop-after "$PART"} ${OPTIONS:-} ${1:+--corpora "$@"}
