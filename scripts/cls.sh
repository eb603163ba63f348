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
            TRANSLATOR (a folder that is there already), or MINUTES and PART of m2m_small.sh, which trains it;
            ENCODER (a folder that is there already, e.g. of encoder_small.sh)
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
  decoding=(--beam 1 --longest 60 --max-len-b 6)
  encoder=(--vocab-size 2000 --hidden-size 32 --layers 1 --heads 2 --intermediate-size 64)
  read=(--hold-out 10 --limit 20) length=32
  training=(optimization.lr='[0.002]' optimization.max_epoch=2)
  ;;
small)
  seeds=${SEEDS:-1 2} jobs=${JOBS:-2}
  decoding=(--beam 1 --longest 60 --max-len-a 1.3 --max-len-b 10)
  encoder=(--vocab-size 8000 --hidden-size 96 --layers 2 --heads 4 --intermediate-size 256)
  read=(--hold-out 200 --limit 400) length=64
  training=(optimization.lr='[0.001]' optimization.max_epoch=6)
  ;;
full)
  seeds=${SEEDS:-1 2 3 4 5} jobs=${JOBS:-8}
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

translator=${TRANSLATOR:-$out/translator}
[ -d "$translator" ] || LANGUAGES="en de fr ja" "$scripts/m2m_small.sh" "$parallel" - "$out" "$size"
pretrained=${ENCODER:-$out/encoder}
[ -d "$pretrained" ] || fairseq-musc new-encoder --output "$pretrained" "${encoder[@]}" \
    --text "$cls/$domain".train.*.tsv.gz "$parallel"/en-{de,fr,ja}.tsv.gz
fairseq-musc read --dataset "cls_$domain" --input "$cls" --output "$out/corpora" "${read[@]}"
"$scripts/translate.sh" "$out/corpora" "$translator" "${decoding[@]}"
"$scripts/back_translate.sh" "$out/corpora" "$translator" "${decoding[@]}"
fairseq-musc binarize --corpora "$out/corpora" --data "$out/data-bin" --tokenizer "$pretrained" --max-length "$length"
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
  of_table=()
  [ "$table" != 2 ] || of_table=("${english[@]}")
  # shellcheck disable=SC2086  # the seeds are words
  fairseq-musc run-table --table "$table" --config-name musc_marc --data "$out/data-bin" --output "$out/runs" \
      --seeds $seeds --jobs "$jobs" ${of_table[@]+"${of_table[@]}"} model.pretrained="'$pretrained'" "${training[@]}"
done
if [[ " $tables " == *" 3 "* ]]; then
  fairseq-musc figure --predictions "$out/runs/S_trn+T_trn_MT_ce_seed=${seeds%% *}/predictions" --output "$out/figure"
fi
