#!/usr/bin/env bash
# A real small many-to-many translator by the recipe of m2m_100, and its BLEU and chrF on text that nothing of it has
# seen. What is done is not done again; a training that was killed or stopped goes on.
set -euo pipefail
if [ $# -ne 4 ]; then
  cat >&2 <<USAGE
usage: $0 PARALLEL TEXTS OUTPUT SIZE
  PARALLEL  en-de.tsv.gz, en-fr.tsv.gz, ...: english, tab, the other language
  TEXTS     devtest.en, devtest.de, ... of FLORES-200, or other aligned texts; - for none
  SIZE      tiny: 120 updates, to see that the joints hold; small: the better part of an hour on a CPU;
            full: 25 minutes on a GPU
writes OUTPUT/translator and OUTPUT/scores
environment: LANGUAGES (en de fr es ja zh ru it), MINUTES (of training, at the end of which the translator is made of
             what there is; full: 25), PART (minutes after which this command stops with status 3, to be given again),
             WORKERS (processes that make batches; full: 8), OPTIONS (further ones of train-translator; the last counts)
USAGE
  exit 2
fi
parallel=$1 texts=$2 out=$3 size=$4
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} TOKENIZERS_PARALLELISM=false
case $size in
tiny)
  translator=(--limit 200 --vocabulary 1700 --dim 64 --ffn-dim 64 --heads 2 --encoder-layers 1 --decoder-layers 1
    --dropout 0 --label-smoothing 0 --updates 120 --warmup 20 --lr 0.01 --max-tokens 800 --held-out 2
    --save-every 118 --average 2)
  training=(--beam 1 --longest 60 --max-len-b 6)
  scoring=(--limit 4 "${training[@]}")
  ;;
small)
  translator=(--limit 18000 --vocabulary 6000 --dim 192 --ffn-dim 512 --encoder-layers 2 --decoder-layers 2
    --dropout 0 --label-smoothing 0.05 --updates 1000 --warmup 200 --lr 0.004 --max-tokens 2500 --held-out 100)
  training=(--beam 1 --longest 60 --max-len-a 1.3 --max-len-b 10)
  scoring=("${training[@]}")
  ;;
full)
  # 24 million parameters, of which 6 in the embeddings: little text wants few. The encoder is the
  # deeper one since the decoder is what takes time in translating. A batch is as large as keeps a GPU and not the
  # Python around it at work; the learning rate is that of small batches times the square root of their ratio.
  MINUTES=${MINUTES:-25}
  translator=(--vocabulary 16000 --dim 384 --ffn-dim 1536 --heads 6 --encoder-layers 6 --decoder-layers 3
    --dropout 0.2 --label-smoothing 0.1 --updates 100000 --warmup 600 --lr 0.003 --max-tokens 96000
    --longest-trained 128 --held-out 100 --save-every 400 --average 5 --num-workers "${WORKERS:-8}")
  training=(--beam 1 --max-len-a 1.5 --max-len-b 20 --batch-tokens 60000 --precision fp16)
  scoring=(--beam 4 --max-len-a 1.5 --max-len-b 20 --batch-tokens 30000 --precision fp16)
  ;;
*)
  echo "$0: SIZE is '$size'; it is tiny, small or full" >&2
  exit 2
  ;;
esac

if [ -n "${PART:-}" ]; then
  stopping=(--stop-after "$PART")
  [ "$PART" != 0 ] || stopping+=(--precision fp32) # the text may be prepared on a machine without a GPU
elif [ -n "${MINUTES:-}" ]; then
  stopping=(--stop-after "$MINUTES" --finish)
fi
# shellcheck disable=SC2086  # languages and options are words
[ -d "$out/translator" ] || fairseq-musc train-translator --parallel "$parallel" --output "$out/translator" \
    --languages ${LANGUAGES:-en de fr es ja zh ru it} "${translator[@]}" "${training[@]}" \
    ${stopping[@]+"${stopping[@]}"} ${OPTIONS:-}
[ "$texts" = - ] || fairseq-musc score-translator --translator "$out/translator" --references "$texts" \
    --output "$out/scores" "${scoring[@]}"
