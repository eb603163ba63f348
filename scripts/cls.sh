#!/usr/bin/env bash
# Tables 3, 4 and 5 and Figure 1 of the paper on real reviews, with an encoder and a translator made on the spot. The
# reviews are CLS (Prettenhofer and Stein 2010): English, German, French and Japanese, with original training text in
# every language, so a stand-in for MARC. What is done is not done again.
set -euo pipefail
if [ $# -ne 4 ]; then
  cat >&2 <<USAGE
usage: $0 CLS PARALLEL OUTPUT SIZE
  CLS       books.train.en.tsv.gz and so on: label, tab, text
  PARALLEL  en-de.tsv.gz, en-fr.tsv.gz, en-ja.tsv.gz: english, tab, the other language
  SIZE      tiny: a few reviews, to see that the joints hold; small: part of the reviews, on a CPU; full: all reviews
            of a domain, on a GPU
environment: DOMAIN (books), TABLES (3 4 5; 2 can be among them; 3 draws Figure 1, too), SEEDS, JOBS (runs at a time),
            HOURS (full: of training the translator)
USAGE
  exit 2
fi
cls=$1 parallel=$2 out=$3 size=$4
domain=${DOMAIN:-books}
scripts=$(dirname "$0")
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} TOKENIZERS_PARALLELISM=false
case $size in
tiny)
  seeds=${SEEDS:-1} jobs=${JOBS:-1}
  translator=(--limit 200 --vocabulary 1500 --dim 64 --ffn-dim 64 --heads 2 --encoder-layers 1 --decoder-layers 1
    --dropout 0 --label-smoothing 0 --updates 120 --warmup 20 --lr 0.01 --max-tokens 800 --held-out 2)
  decoding=(--beam 1 --longest 60 --max-len-b 6)
  encoder=(--vocab-size 2000 --hidden-size 32 --layers 1 --heads 2 --intermediate-size 64)
  read=(--hold-out 10 --limit 20) length=32
  training=(optimization.lr='[0.002]' optimization.max_epoch=2)
  ;;
small)
  seeds=${SEEDS:-1 2} jobs=${JOBS:-2}
  translator=(--limit 18000 --vocabulary 6000 --dim 192 --ffn-dim 512 --encoder-layers 2 --decoder-layers 2
    --dropout 0 --label-smoothing 0.05 --updates 1000 --warmup 200 --lr 0.004 --max-tokens 2500 --held-out 100)
  decoding=(--beam 1 --longest 60 --max-len-a 1.3 --max-len-b 10)
  encoder=(--vocab-size 8000 --hidden-size 96 --layers 2 --heads 4 --intermediate-size 256)
  read=(--hold-out 200 --limit 400) length=64
  training=(optimization.lr='[0.001]' optimization.max_epoch=6)
  ;;
full)
  seeds=${SEEDS:-1 2 3 4 5} jobs=${JOBS:-8}
  translator=(--vocabulary 12000 --dim 384 --ffn-dim 1536 --heads 6 --encoder-layers 4 --decoder-layers 4
    --dropout 0.1 --updates 20000 --warmup 1000 --lr 0.0007 --max-tokens 16000 --held-out 60
    --num-workers 14 --stop-time-hours "${HOURS:-0.5}")
  decoding=(--beam 2 --longest 60 --max-len-a 1.3 --max-len-b 10 --batch-tokens 60000 --precision fp16)
  encoder=(--vocab-size 16000 --hidden-size 128 --layers 2 --heads 4 --intermediate-size 512)
  read=(--hold-out 400) length=128
  training=(optimization.lr='[0.0005]' optimization.max_epoch=6)
  ;;
*)
  echo "$0: SIZE is '$size'; it is tiny, small or full" >&2
  exit 2
  ;;
esac

[ -d "$out/translator" ] || fairseq-musc train-translator --parallel "$parallel" --output "$out/translator" \
    --languages en de fr ja "${translator[@]}" "${decoding[@]}"
[ -d "$out/encoder" ] || fairseq-musc new-encoder --output "$out/encoder" "${encoder[@]}" \
    --text "$cls/$domain".train.*.tsv.gz "$parallel"/en-{de,fr,ja}.tsv.gz
fairseq-musc read --dataset "cls_$domain" --input "$cls" --output "$out/corpora" "${read[@]}"
"$scripts/translate.sh" "$out/corpora" "$out/translator" "${decoding[@]}"
"$scripts/back_translate.sh" "$out/corpora" "$out/translator" "${decoding[@]}"
fairseq-musc binarize --corpora "$out/corpora" --data "$out/data-bin" --tokenizer "$out/encoder" --max-length "$length"
tables=${TABLES-3 4 5}
english=()
if [[ " $tables " == *" 2 "* ]]; then
  english=(--english-encoder "$out/encoder-en" --english-data "$out/data-bin-en")
  [ -d "$out/encoder-en" ] || fairseq-musc new-encoder --output "$out/encoder-en" "${encoder[@]}" \
      --text "$cls/$domain.train.en.tsv.gz"
  fairseq-musc binarize --corpora "$out/corpora" --data "$out/data-bin-en" --tokenizer "$out/encoder-en" \
      --max-length "$length" --only S_trn T_val S_val_MT T_tst S_tst_MT
fi
for table in $tables; do
  # shellcheck disable=SC2086  # the seeds are words
  fairseq-musc run-table --table "$table" --config-name musc_marc --data "$out/data-bin" --output "$out/runs" \
      --seeds $seeds --jobs "$jobs" $([ "$table" != 2 ] || printf '%s ' "${english[@]}") \
      model.pretrained="$out/encoder" "${training[@]}"
done
if [[ " $tables " == *" 3 "* ]]; then
  fairseq-musc figure --predictions "$out/runs/S_trn+T_trn_MT_ce_seed=${seeds%% *}/predictions" --output "$out/figure"
fi
