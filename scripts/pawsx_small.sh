#!/usr/bin/env bash
# Real PAWS-X end to end on a CPU, with an untrained small encoder that has mBERT's vocabulary and a translator that saw
# a slice of parallel text: the commands of docs/pawsx.md, small. The accuracies show that the joints hold, no more.
set -euo pipefail
if [ $# -ne 4 ]; then
  cat >&2 <<USAGE
usage: $0 PAWSX VOCAB PARALLEL OUTPUT
  PAWSX     the folder x-final, with dev_2k.tsv (trained on; its last rows are held out) and test_2k.tsv
  VOCAB     vocab.txt of bert-base-multilingual-cased
  PARALLEL  en-de.tsv.gz, en-es.tsv.gz, ...: english, tab, the other language
environment: ROWS (600) of each set at most, UPDATES (700) of the translator
USAGE
  exit 2
fi
pawsx=$1 vocab=$2 parallel=$3 out=$4
scripts=$(dirname "$0")
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} TOKENIZERS_PARALLELISM=false

[ -d "$out/translator" ] || fairseq-musc train-translator --parallel "$parallel" --output "$out/translator" \
    --languages en de es fr ja ko zh --limit "${ROWS:-600}"0 --held-out 40 --vocabulary 4000 \
    --dim 128 --ffn-dim 256 --encoder-layers 2 --decoder-layers 2 --dropout 0 --label-smoothing 0.05 \
    --updates "${UPDATES:-700}" --warmup 120 --lr 0.005 --max-tokens 2000 --beam 1 --max-len-b 60
[ -d "$out/encoder" ] || fairseq-musc new-encoder --output "$out/encoder" --vocab "$vocab" \
    --hidden-size 64 --layers 2 --heads 4 --intermediate-size 128

fairseq-musc read --dataset pawsx --input "$pawsx" --output "$out/corpora" --missing drop \
    --train-file dev_2k --hold-out 200 --limit "${ROWS:-600}"
"$scripts/translate.sh" "$out/corpora" "$out/translator" --beam 1 --max-len-b 60
fairseq-musc binarize --corpora "$out/corpora" --data "$out/data-bin" --tokenizer "$out/encoder"
fairseq-hydra-train --config-name musc_pawsx \
    task.data="'$out/data-bin'" model.pretrained="'$out/encoder'" checkpoint.save_dir="'$out/checkpoints'" \
    optimization.lr='[0.001]' optimization.max_epoch=8 criterion.lam=0.1 common.log_interval=20
for which in best last; do
  "$scripts/eval_translate_all.sh" "$out/checkpoints/checkpoint_$which.pt" "$out/data-bin"
done
